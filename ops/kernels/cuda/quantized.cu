#include "ops/kernels/cuda/multiply_launch.hpp"
#include "ops/kernels/cuda/quantized.hpp"
#include "ops/kernels/cuda/quantized_rows.hpp"

namespace skymm::cuda {
namespace {

// At most most_parts parts as one operand.
template <QuantizedFormat Format>
QuantizedRows<Format> rows_of(std::span<const QuantizedTensor> parts) {
  QuantizedRows<Format> rows{};
  rows.count = static_cast<int>(parts.size());
  rows.columns = parts[0].columns();
  rows.code_bytes = QuantizedTensor::code_bytes_of(Format, rows.columns);
  rows.blocks = parts[0].blocks();
  constexpr std::int64_t unit = sizeof(QuantizedRows<Format>::Held::codes);
  rows.aligned = rows.code_bytes % unit == 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const QuantizedTensor& x = parts[i];
    const auto* codes = static_cast<const std::uint8_t*>(x.codes.raw());
    rows.aligned = rows.aligned && reinterpret_cast<std::uintptr_t>(codes) % unit == 0;
    const auto floats = [](const Tensor& of) { return of.defined() ? of.data<float>() : nullptr; };
    rows.parts[i] = {codes, x.scales.raw(), floats(x.scale_steps), floats(x.scale_offset), rows.rows};
    rows.rows += x.rows();
  }
  return rows;
}

// f(the parts as one operand, their first row) for so many parts at a time as one launch takes.
template <class F>
void each_operand(std::span<const QuantizedTensor> parts, const F& f) {
  constexpr std::size_t most = QuantizedRows<QuantizedFormat::nf4>::most_parts;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < parts.size(); i += most) {
    const auto some = parts.subspan(i, std::min(most, parts.size() - i));
    const auto launch = [&](const auto& rows) {
      f(rows, first);
      first += rows.rows;
    };
    some[0].format == QuantizedFormat::nf4 ? launch(rows_of<QuantizedFormat::nf4>(some))
                                           : launch(rows_of<QuantizedFormat::int8>(some));
  }
}

template <bool Transposed, QuantizedFormat Format>
void launch_product(const ProductLaunch& launch, const Matrix& a, const QuantizedRows<Format>& w) {
  if (a.dtype == DType::bf16) {
    launch.bf16<false, Transposed>(rows_in_memory(a), w);
  } else {
    launch.f32(elements_of(a), QuantizedElements<Format, Transposed>{w});
  }
}

template <QuantizedFormat Format, class T>
__global__ void __launch_bounds__(256) dequantize_rows(QuantizedRows<Format> w, T* to, std::int64_t step) {
  w.begin();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= w.rows * w.columns) return;
  const std::int64_t row = i / w.columns, column = i % w.columns;
  to[row * step + column] = from_float<T>(w.at(row, column));
}

}  // namespace

void multiply_quantized(const Matrix& a, std::span<const QuantizedTensor> parts, const Matrix& c,
                        const Epilogue& epilogue, Stream& stream, TileSize tiles) {
  each_operand(parts, [&](const auto& w, std::int64_t first) {
    if (c.rows == 0 || w.rows == 0) return;
    Epilogue e = epilogue;
    if (e.bias != nullptr) {
      e.bias = static_cast<const char*>(e.bias) + first * static_cast<std::int64_t>(size_of(e.bias_dtype));
    }
    launch_product<false>({c.cols_of(first, first + w.rows), e, a.cols, stream, tiles}, a, w);
  });
}

void multiply_quantized_transposed(const Matrix& a, std::span<const QuantizedTensor> parts, const Matrix& c,
                                   bool accumulate, Stream& stream, TileSize tiles) {
  if (c.rows == 0 || c.cols == 0) return;
  each_operand(parts, [&](const auto& w, std::int64_t first) {
    const Epilogue e{.accumulate = accumulate || first > 0};
    launch_product<true>({c, e, w.rows, stream, tiles}, a.cols_of(first, first + w.rows), w);
  });
}

void dequantize(const QuantizedTensor& x, const Matrix& to, Stream& stream) {
  if (to.rows == 0 || to.cols == 0) return;
  each_operand(std::span(&x, 1), [&](const auto& w, std::int64_t) {
    constexpr QuantizedFormat format = std::decay_t<decltype(w)>::is_nf4 ? QuantizedFormat::nf4 : QuantizedFormat::int8;
    const dim3 grid(static_cast<unsigned>((to.rows * to.cols + 255) / 256));
    if (to.dtype == DType::bf16) {
      launch(dequantize_rows<format, bf16>, grid, dim3(256), 0, stream, w, static_cast<bf16*>(to.data), to.row_step);
    } else {
      launch(dequantize_rows<format, float>, grid, dim3(256), 0, stream, w, static_cast<float*>(to.data), to.row_step);
    }
  });
}

}  // namespace skymm::cuda
