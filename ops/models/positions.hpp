// Fixed two-dimensional positions of a grid of patches, on the host, row-major.
#pragma once

#include <cstdint>
#include <vector>

namespace skymm {

// [side * side, width], grid rows first, as MAE's (He et al. 2022): the first half of the width encodes the column, the
// second the row; each half is [sin | cos] of position * 10000^(-j / (width / 4)). width is a multiple of 4.
std::vector<float> sincos_2d(std::int64_t side, std::int64_t width);

// The matrix [to_side^2, from_side^2] that resizes a grid bicubically (a = -0.75, half-pixel centres, edges repeated,
// no antialiasing): PyTorch's interpolate(mode="bicubic", align_corners=False).
std::vector<double> bicubic_matrix(std::int64_t from_rows, std::int64_t from_columns, std::int64_t to_rows,
                                   std::int64_t to_columns);

// sincos_2d(side) resized to a grid of `grid` x `grid`: [grid * grid, width].
std::vector<float> resized_sincos_2d(std::int64_t side, std::int64_t grid, std::int64_t width);

}  // namespace skymm
