// Safetensors: the header, then every tensor that can be computed with.
#include "io/weights/safetensors.hpp"

#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::InputFile file(fuzz::bytes_of(data, size));
  fuzz::read_or_refuse([&] {
    const SafetensorsReader reader(file.path());
    for (const WeightEntry& entry : reader.entries()) {
      reader.stored(entry);
      fuzz::read_or_refuse([&] { reader.read(entry.name); });
    }
  });
  return 0;
}
