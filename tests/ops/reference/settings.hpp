// One runner for tests of primitives over rows: every stream and dtype, odd sizes, dense and strided rows.
#pragma once

#include <omp.h>

#include <limits>

#include "core/error.hpp"
#include "ops/kernels/kernels.hpp"
#include "support/support.hpp"

namespace skymm::testing {

// What a primitive is tried with, and the maker of its tensors.
class Setting {
 public:
  Setting(Device& device, std::int64_t rows, std::int64_t width, DType dtype, bool strided)
      : device(device), rows(rows), width(width), dtype(dtype), strided_(strided) {}

  // Normal values; columns of a wider tensor where rows are strided.
  Tensor input(std::int64_t n, std::int64_t d, DType type, std::uint64_t seed, double scale = 1.0) const {
    const Tensor whole = random_tensor({n, strided_ ? d + 5 : d}, type, seed, scale).to(device);
    return strided_ ? whole.slice(1, 2, 2 + d) : whole;
  }
  Tensor input(std::uint64_t seed, double scale = 1.0) const { return input(rows, width, dtype, seed, scale); }
  Tensor dense(const Shape& shape, DType type, std::uint64_t seed, double scale = 1.0) const {
    return random_tensor(shape, type, seed, scale).to(device);
  }
  Tensor dense(const Values& values, const Shape& shape, DType type) const {
    return tensor_of(values, shape, type).to(device);
  }
  Tensor ints(const std::vector<std::int32_t>& values) const {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())}, device);
  }

  // Not-a-number everywhere, so that an element left out is seen; columns of a wider tensor where rows are strided.
  Tensor output(std::int64_t n, std::int64_t d, DType type) {
    const Tensor whole = Tensor::full({n, strided_ ? d + 5 : d}, type, untouched, device);
    const Tensor view = strided_ ? whole.slice(1, 3, 3 + d) : whole;
    view.fill(std::numeric_limits<double>::quiet_NaN());
    outputs_.push_back({whole, d});
    return view;
  }
  Tensor output() { return output(rows, width, dtype); }
  Tensor output_like(const Tensor& values) {  // holds `values`, to be added to
    const Tensor view = output(values.dim(0), values.dim(1), values.dtype());
    view.copy_from(values);
    return view;
  }
  Tensor column() const { return Tensor::full({rows}, DType::f32, std::numeric_limits<double>::quiet_NaN(), device); }

  // Nothing beside the outputs' own columns was written.
  void expect_neighbours_untouched() const {
    if (!strided_) return;
    for (const auto& [whole, d] : outputs_) {
      for (const Tensor& side : {whole.slice(1, 0, 3), whole.slice(1, 3 + d, 5 + d)}) {
        EXPECT_EQ(values_of(side), Values(static_cast<std::size_t>(side.numel()), untouched));
      }
    }
  }

  Device& device;
  const std::int64_t rows, width;
  const DType dtype;

 private:
  static constexpr double untouched = 5.0;
  struct Output {
    Tensor whole;
    std::int64_t width;
  };

  bool strided_;
  std::vector<Output> outputs_;
};

inline void for_every_setting(const std::function<void(Setting&)>& body) {
  constexpr struct {
    std::int64_t rows, width;
  } sizes[] = {{1, 1},     {3, 7},    {7, 3},     {17, 17}, {33, 65}, {65, 33},
               {129, 129}, {5, 1000}, {300, 130}, {0, 7},   {3, 2053}};  // the last: on CUDA a block a row
  on_every_stream([&] {
    for (const auto& [rows, width] : sizes) {
      if (rows * width > 20'000 && only_small_shapes()) continue;
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const bool strided : {false, true}) {
          SCOPED_TRACE(fmt::format("[{}, {}] {} {}", rows, width, name_of(dtype), strided ? "strided" : "dense"));
          Setting setting(tested_device(), rows, width, dtype, strided);
          body(setting);
          setting.expect_neighbours_untouched();
        }
      }
    }
  });
}

// ||a - b|| against `bound` times ||b||, or times `scale` where that is larger: for results that cancel to almost zero.
inline void expect_close(const Tensor& x, const Values& expected, double bound, double scale = 0) {
  const double norm = relative_error(expected, Values(expected.size()));  // of a zero reference: the norm itself
  const double error = relative_error(values_of(x), expected) * (norm > 0 ? norm : 1);
  EXPECT_LE(error, bound * std::max(norm, scale));
}

inline double norm_of(const Values& x) { return relative_error(x, Values(x.size())); }

// The same bits from `results` with 1, 2 and 3 threads, for both dtypes, where work is enough for all of them.
inline void expect_same_for_any_threads(const std::function<std::vector<Tensor>(Setting&)>& results) {
  const int before = omp_get_max_threads();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    std::vector<std::vector<Values>> all;
    for (const int threads : {1, 2, 3}) {
      omp_set_num_threads(threads);
      Setting setting(tested_device(), 301, 1003, dtype, false);
      all.emplace_back();
      for (const Tensor& x : results(setting)) all.back().push_back(values_of(x));
    }
    EXPECT_EQ(all[0], all[1]) << name_of(dtype);
    EXPECT_EQ(all[0], all[2]) << name_of(dtype);
  }
  omp_set_num_threads(before);
}

}  // namespace skymm::testing
