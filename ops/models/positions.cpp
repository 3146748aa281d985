#include "ops/models/positions.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.hpp"

namespace skymm {
namespace {

// Keys' cubic convolution kernel (1981) at distance x.
double cubic(double x) {
  constexpr double a = -0.75;
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

// [to, from]: the one-dimensional resize.
std::vector<double> bicubic_line(std::int64_t from, std::int64_t to) {
  std::vector<double> matrix(static_cast<std::size_t>(from * to));
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    const auto first = static_cast<std::int64_t>(std::floor(center)) - 1;
    for (std::int64_t j = first; j < first + 4; ++j) {
      const std::int64_t source = std::clamp<std::int64_t>(j, 0, from - 1);
      matrix[static_cast<std::size_t>(i * from + source)] += cubic(center - static_cast<double>(j));
    }
  }
  return matrix;
}

}  // namespace

std::vector<float> sincos_2d(std::int64_t side, std::int64_t width) {
  check(width % 4 == 0, "two-dimensional positions need a width that is a multiple of 4; got {}", width);
  const std::int64_t quarter = width / 4;
  std::vector<float> table(static_cast<std::size_t>(side * side * width));
  for (std::int64_t row = 0; row < side; ++row) {
    for (std::int64_t column = 0; column < side; ++column) {
      float* out = table.data() + (row * side + column) * width;
      for (std::int64_t j = 0; j < quarter; ++j) {
        const double frequency = std::pow(1e4, -static_cast<double>(j) / static_cast<double>(quarter));
        const std::array<double, 2> angles{static_cast<double>(column) * frequency,
                                           static_cast<double>(row) * frequency};
        for (std::int64_t half = 0; half < 2; ++half) {
          out[(2 * half) * quarter + j] = static_cast<float>(std::sin(angles[static_cast<std::size_t>(half)]));
          out[(2 * half + 1) * quarter + j] = static_cast<float>(std::cos(angles[static_cast<std::size_t>(half)]));
        }
      }
    }
  }
  return table;
}

std::vector<double> bicubic_matrix(std::int64_t from_rows, std::int64_t from_columns, std::int64_t to_rows,
                                   std::int64_t to_columns) {
  const std::vector<double> rows = bicubic_line(from_rows, to_rows), columns = bicubic_line(from_columns, to_columns);
  const std::int64_t from = from_rows * from_columns;
  std::vector<double> matrix(static_cast<std::size_t>(to_rows * to_columns * from));
  for (std::int64_t i = 0; i < to_rows * to_columns; ++i) {
    for (std::int64_t j = 0; j < from; ++j) {
      matrix[static_cast<std::size_t>(i * from + j)] =
          rows[static_cast<std::size_t>((i / to_columns) * from_rows + j / from_columns)] *
          columns[static_cast<std::size_t>((i % to_columns) * from_columns + j % from_columns)];
    }
  }
  return matrix;
}

std::vector<float> resized_sincos_2d(std::int64_t side, std::int64_t grid, std::int64_t width) {
  const std::vector<float> table = sincos_2d(side, width);
  if (side == grid) return table;
  const std::vector<double> matrix = bicubic_matrix(side, side, grid, grid);
  const std::int64_t from = side * side;
  std::vector<float> resized(static_cast<std::size_t>(grid * grid * width));
  for (std::int64_t i = 0; i < grid * grid; ++i) {
    for (std::int64_t d = 0; d < width; ++d) {
      double sum = 0;
      for (std::int64_t j = 0; j < from; ++j) {
        sum += matrix[static_cast<std::size_t>(i * from + j)] * table[static_cast<std::size_t>(j * width + d)];
      }
      resized[static_cast<std::size_t>(i * width + d)] = static_cast<float>(sum);
    }
  }
  return resized;
}

}  // namespace skymm
