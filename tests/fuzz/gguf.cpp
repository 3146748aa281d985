// GGUF: the container, every tensor (the blocks of each quantised type), and the embedded vocabulary.
#include "io/weights/gguf.hpp"

#include "io/tokenizer_files.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::InputFile file(fuzz::bytes_of(data, size));
  fuzz::read_or_refuse([&] {
    const GgufFile gguf(file.path());
    for (const WeightEntry& entry : gguf.entries()) {
      fuzz::read_or_refuse([&] { gguf.read(entry.name); });
    }
  });
  fuzz::read_or_refuse([&] { load_tokenizer_gguf(file.path())->encode("Two pandas, 两只熊猫 12!"); });
  return 0;
}
