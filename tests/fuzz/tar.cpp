// WebDataset's tar shards, plain and compressed.
#include "tests/fuzz/records.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::import_input(read_webdataset, fuzz::bytes_of(data, size));
  return 0;
}
