// SentencePiece's tokenizer.model: reading, and text there and back.
#include "io/tokenizer_files.hpp"
#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::read_or_refuse([&] {
    const auto tokenizer = make_sentencepiece_tokenizer(std::string(fuzz::bytes_of(data, size)), "input");
    for (const TextPlace place : {TextPlace::start, TextPlace::middle}) {
      tokenizer->decode(tokenizer->encode("Two pandas, 两只熊猫 12!\n", place), place);
    }
  });
  return 0;
}
