#include "bench/peak.hpp"

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace skymm::bench {
namespace {

constexpr int chains = 12;  // sums in flight: latency times throughput, with room
constexpr std::int64_t steps = 4 << 20;

// The loops keep their sums in registers and return something of them, so that nothing is optimised away.
__attribute__((target("avx512f"))) float f32_avx512() {
  __m512 sum[chains];
  for (auto& s : sum) s = _mm512_set1_ps(1e-3F);
  const __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(1e-3F);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (auto& s : sum) s = _mm512_fmadd_ps(s, x, y);
  }
  for (int i = 1; i < chains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

__attribute__((target("avx2,fma"))) float f32_avx2() {
  __m256 sum[chains];
  for (auto& s : sum) s = _mm256_set1_ps(1e-3F);
  const __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(1e-3F);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (auto& s : sum) s = _mm256_fmadd_ps(s, x, y);
  }
  for (int i = 1; i < chains; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}

float f32_sse() {
  __m128 sum[chains];
  for (auto& s : sum) s = _mm_set1_ps(1e-3F);
  const __m128 x = _mm_set1_ps(0.999F), y = _mm_set1_ps(1e-3F);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (auto& s : sum) s = _mm_add_ps(_mm_mul_ps(s, x), y);
  }
  for (int i = 1; i < chains; ++i) sum[0] = _mm_add_ps(sum[0], sum[i]);
  return _mm_cvtss_f32(sum[0]);
}

__attribute__((target("avx512f,avx512bf16"))) float bf16_avx512() {
  __m512 sum[chains];
  for (auto& s : sum) s = _mm512_set1_ps(1e-3F);
  const auto x = (__m512bh)_mm512_set1_epi16(0x3f80), y = (__m512bh)_mm512_set1_epi16(0x3a83);
  for (std::int64_t i = 0; i < steps; ++i) {
    for (auto& s : sum) s = _mm512_dpbf16_ps(s, x, y);
  }
  for (int i = 1; i < chains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

volatile float sink;

// The best of three times of `work` on all of `threads` threads at once.
template <class F>
double best_seconds(int threads, F work) {
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel num_threads(threads)
    work(omp_get_thread_num());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

double flops(int threads, float (*loop)(), int flops_of_step) {
  return static_cast<double>(steps) * chains * flops_of_step * threads /
         best_seconds(threads, [&](int) { sink = loop(); });
}

constexpr std::int64_t words = 16 << 20;  // 128 MiB a thread

}  // namespace

double peak_flops_f32(int threads) {
  if (__builtin_cpu_supports("avx512f")) return flops(threads, f32_avx512, 32);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return flops(threads, f32_avx2, 16);
  return flops(threads, f32_sse, 8);
}

double peak_flops_bf16(int threads) {
  return __builtin_cpu_supports("avx512bf16") ? flops(threads, bf16_avx512, 64) : 0;
}

double read_bandwidth(int threads) {
  std::vector<std::vector<std::uint64_t>> memory(threads);
  for (auto& part : memory) part.assign(words, 1);
  const double seconds = best_seconds(threads, [&](int thread) {
    std::uint64_t sum = 0;
    for (const std::uint64_t word : memory[thread]) sum += word;
    sink = static_cast<float>(sum);
  });
  return static_cast<double>(words) * 8 * threads / seconds;
}

double copy_bandwidth(int threads) {
  std::vector<std::vector<std::uint64_t>> from(threads), to(threads);
  for (auto& part : from) part.assign(words, 1);
  for (auto& part : to) part.assign(words, 2);
  const double seconds = best_seconds(
      threads, [&](int thread) { std::copy(from[thread].begin(), from[thread].end(), to[thread].begin()); });
  return static_cast<double>(words) * 16 * threads / seconds;
}

ReadPass::ReadPass(std::size_t bytes) : memory_(Tensor::zeros({static_cast<std::int64_t>(bytes / 8 * 8)}, DType::u8)) {}

double ReadPass::seconds() const {
  const auto* const first = static_cast<const std::uint64_t*>(memory_.raw());
  const std::int64_t count = memory_.numel() / 8;
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel
  {
    const std::int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    std::uint64_t sum = 0;
    for (std::int64_t i = count * me / all; i < count * (me + 1) / all; ++i) sum += first[i];
    sink = static_cast<float>(sum);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace skymm::bench
