// Sums of buffers in a fixed order, the same to the bit wherever they are made.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.hpp"

namespace skymm {

// to[i] = parts[0][i] + parts[1][i] + ..., n elements; f32 and bf16 add in f32 and round once, f64 and i64 in their own
// type. `to` may be one of the parts.
void sum_in_order(DType dtype, const std::vector<const char*>& parts, char* to, std::int64_t n);

}  // namespace skymm
