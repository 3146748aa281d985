// The inputs that are text: the first byte chooses which reader of an import gets the rest, or a data set's manifest.
#include <array>

#include "io/manifest.hpp"
#include "tests/fuzz/records.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::array<InputReader, 6> readers = {read_llava, read_lrv, read_jsonl, read_csv, read_mmbench, read_pope};
  if (size == 0) return 0;
  const std::string_view rest = fuzz::bytes_of(data, size).substr(1);
  const std::size_t choice = data[0] % (readers.size() + 1);
  if (choice < readers.size()) {
    fuzz::import_input(readers[choice], rest);
  } else {
    const fuzz::InputFile file(rest);
    fuzz::read_or_refuse([&] { read_manifest(file.path()); });
  }
  return 0;
}
