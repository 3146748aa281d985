// JPEG, PNG and WebP: the scan of an import, decoding whole and reduced. Small pictures, so that many are tried.
#include "io/image.hpp"

#include "tests/fuzz/fuzz.hpp"

using namespace skymm;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::int64_t most_pixels = 1 << 20;
  const std::string_view bytes = fuzz::bytes_of(data, size);
  fuzz::read_or_refuse([&] { scan_image(bytes, most_pixels); });
  fuzz::read_or_refuse([&] { decode_image_reduced(bytes, 1, most_pixels); });
  fuzz::read_or_refuse([&] {
    const Image image = decode_image(bytes, most_pixels);
    check(image.rgb.size() == static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3,
          "a picture of {}x{} has {} bytes", image.width, image.height, image.rgb.size());
  });
  return 0;
}
