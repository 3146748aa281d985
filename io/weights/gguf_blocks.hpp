// GGUF's quantised blocks as f32. A block has one or two f16 scales and an integer of 4 to 8 bits an element; the K
// types hold sub-blocks with scales of 6 or 8 bits below a common f16 one. (github.com/ggml-org/ggml, ggml-common.h)
#pragma once

#include <cstdint>
#include <string_view>

namespace skymm {

// From `blocks` blocks at `from` to their elements.
using Dequantize = void (*)(const std::uint8_t* from, std::int64_t blocks, float* to);

// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K; null for other types.
Dequantize find_dequantize(std::string_view type);

}  // namespace skymm
