// Weights to codes and back.
#include <atomic>
#include <cmath>

#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"
#include "ops/kernels/cpu/matmul.hpp"
#include "ops/kernels/cpu/quantized_rows.hpp"

namespace skymm {
namespace {

// Scales to 8 bits, in groups, as differences from their mean.
void quantize_scales(const Tensor& scales, const QuantizedTensor& to) {
  const std::int64_t count = scales.numel();
  const auto* from = scales.data<float>();
  auto* codes = to.scales.data<std::int8_t>();
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += from[i];
  const auto mean = static_cast<float>(count > 0 ? sum / static_cast<double>(count) : 0.0);
  *to.scale_offset.data<float>() = mean;
  auto* steps = to.scale_steps.data<float>();
  parallel_blocks(count, scale_group, count, [=](std::int64_t begin, std::int64_t end) {
    float largest = 0;
    for (std::int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(from[i] - mean));
    const float step = steps[begin / scale_group] = largest / 127;
    for (std::int64_t i = begin; i < end; ++i) {
      codes[i] = static_cast<std::int8_t>(step > 0 ? std::lround((from[i] - mean) / step) : 0);
    }
  });
}

}  // namespace

void CpuKernels::quantize(const Tensor& weight, const QuantizedTensor& to) {
  check_layout(to, "quantize");
  const Tensor from = matrix_of_codes(weight, "quantize", to);
  if (from.numel() == 0) return;
  launch(from, [from, to] {
    const Matrix rows = row_matrix_of(from, "quantize", "weight");
    const QuantizedRows codes(to);
    Tensor scales = to.scales;
    if (to.is_double()) {
      const PurposeScope purpose(Purpose::workspace);
      scales = Tensor::empty(to.scales.shape(), DType::f32, to.scales.device());
    }
    std::atomic<bool> finite = true;
    parallel_for(rows.rows, rows.rows * rows.cols, [&](std::int64_t row) {
      const bool good =
          quantize_row(to.format, rows.at(row * rows.row_step), rows.dtype == DType::bf16, rows.cols,
                       const_cast<std::uint8_t*>(codes.codes_of(row)), scales.data<float>() + row * codes.blocks);
      if (!good) finite = false;
    });
    check(finite, "quantize: the weight {} holds a number that is not finite", from.shape());
    if (to.is_double()) quantize_scales(scales, to);
  });
}

void CpuKernels::dequantize(const QuantizedTensor& x, Tensor weight) {
  check_layout(x, "dequantize");
  const Tensor to = matrix_of_codes(weight, "dequantize", x);
  if (to.numel() == 0) return;
  launch(to, [x, to] {
    const Matrix rows = row_matrix_of(to, "dequantize", "weight");
    const QuantizedRows codes(x);
    parallel_for(rows.rows, rows.rows * rows.cols, [&](std::int64_t row) {
      const QuantizedTile tile{row, row + 1, 0, rows.cols};
      void* const at = rows.at(row * rows.row_step);
      rows.dtype == DType::bf16 ? dequantize_tile(codes, tile, static_cast<BFloat16*>(at), 0)
                                : dequantize_tile(codes, tile, static_cast<float*>(at), 0);
    });
  });
}

}  // namespace skymm
