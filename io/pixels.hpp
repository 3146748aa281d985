// From an encoded picture to what the ViT takes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "io/image.hpp"

namespace skymm {

// How a picture that is not square becomes one.
enum class Fit : std::uint8_t {
  crop,    // the shorter side is resized to `size`, the centre is kept: CLIP's
  pad,     // the mean colour is put around it, then it is resized: LLaVA-1.5's
  stretch  // both sides are resized to `size`
};
Fit parse_fit(std::string_view name);  // throws Error that lists the names

struct ImageSpec {
  int size = 224;
  std::array<float, 3> mean = clip_mean, std = clip_std;
  Fit fit = Fit::crop;
  bool fast_jpeg = false;  // decode_image_reduced: large JPEGs in a fraction of the time, not quite the same pixels
};

// [3, size, size] f32, normalised. Throws Error where the bytes are no picture.
std::vector<float> load_pixels(std::string_view bytes, const ImageSpec& spec);
using PixelReader = std::function<std::vector<float>(std::string_view bytes, const ImageSpec& spec)>;

// Mild changes that keep what a picture says, colours and positions included: brightness +-5 %, contrast +-10 %, and a
// shift of up to 4 pixels each way, edges repeated. Decided by (seed, step, position in the global batch, picture).
struct AugmentationKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0, position = 0, picture = 0;
};
void augment(std::vector<float>& pixels, const ImageSpec& spec, const AugmentationKey& key);

}  // namespace skymm
