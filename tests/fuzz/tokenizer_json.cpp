// Hugging Face's tokenizer.json: reading, and text there and back.
#include "io/tokenizer_files.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::InputFile file(fuzz::bytes_of(data, size));
  fuzz::read_or_refuse([&] {
    const auto tokenizer = load_tokenizer_json(file.path());
    for (const char* text : {"Two pandas, 两只熊猫 12!", " \n\t<|im_start|>user's", ""}) {
      tokenizer->decode(tokenizer->encode(text));
    }
  });
  return 0;
}
