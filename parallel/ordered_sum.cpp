#include "parallel/ordered_sum.hpp"

#include <algorithm>
#include <array>

namespace skymm {
namespace {

template <class T, class Sum>
void add_in_order(const std::vector<const T*>& parts, T* to, std::int64_t n) {
  constexpr std::int64_t tile = 2048;
#pragma omp parallel for schedule(static) if (n > 16 * tile)
  for (std::int64_t begin = 0; begin < n; begin += tile) {
    const std::int64_t count = std::min(tile, n - begin);
    std::array<Sum, tile> sum;
    for (std::int64_t i = 0; i < count; ++i) sum[i] = static_cast<Sum>(parts[0][begin + i]);
    for (std::size_t r = 1; r < parts.size(); ++r) {
      const T* from = parts[r] + begin;
      for (std::int64_t i = 0; i < count; ++i) sum[i] += static_cast<Sum>(from[i]);
    }
    for (std::int64_t i = 0; i < count; ++i) to[begin + i] = static_cast<T>(sum[i]);
  }
}

}  // namespace

void sum_in_order(DType dtype, const std::vector<const char*>& parts, char* to, std::int64_t n) {
  const auto sum = [&]<class T, class Sum>(T, Sum) {
    std::vector<const T*> typed;
    for (const char* part : parts) typed.push_back(reinterpret_cast<const T*>(part));
    add_in_order<T, Sum>(typed, reinterpret_cast<T*>(to), n);
  };
  switch (dtype) {
    case DType::f32:
      return sum(0.0F, 0.0F);
    case DType::bf16:
      return sum(BFloat16(), 0.0F);
    case DType::f64:
      return sum(0.0, 0.0);
    default:
      return sum(std::int64_t{}, std::int64_t{});
  }
}

}  // namespace skymm
