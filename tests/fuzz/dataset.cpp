// HDF5 data sets: the structure, the header, the index, every sample and picture.
#include "io/dataset.hpp"

#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::InputFile file(fuzz::bytes_of(data, size));
  fuzz::read_or_refuse([&] {
    const Dataset set(file.path());
    for (std::int64_t i = 0; i < set.size(); ++i) {
      fuzz::read_or_refuse([&] {
        set.info(i);
        set.read(i);
      });
    }
    fuzz::read_or_refuse([&] { set.source_counts(); });
    set.find_damage();
  });
  return 0;
}
