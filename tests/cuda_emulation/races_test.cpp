// What ThreadSanitizer makes of the emulation: that it reports accesses which nothing orders, and none that the CUDA
// execution model orders. For each thing that orders, a kernel with it and one without; in the forward order, in which
// most of these give the right values all the same.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <vector>

#include "core/device.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {
namespace {

template <class... P, class... A>
void run(void (*kernel)(P...), unsigned blocks, unsigned threads, A... a) {
  launch(kernel, blocks, threads, 0, cpu().default_stream(), a...);
}

// In a process of its own, as a report makes a process fail when it ends.
void expect_exit(int code, const char* report, const std::function<void()>& work) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT((work(), std::exit(0)), ::testing::ExitedWithCode(code), report);
}
void expect_race(const std::function<void()>& work) { expect_exit(66, "ThreadSanitizer: data race", work); }
void expect_no_race(const std::function<void()>& work) { expect_exit(0, "", work); }

// ---- a block's threads ---------------------------------------------------------------------------------------------

template <bool barrier>
__global__ void reverse(const float* x, float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 64);
  tile[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  y[threadIdx.x] = tile[63 - threadIdx.x];
}

template <bool barrier_at_end>
__global__ void sum_in_rounds(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 64);
  float sum = 0;
  for (int round = 0; round < 4; ++round) {
    tile[threadIdx.x] = static_cast<float>(round);
    __syncthreads();
    sum += tile[63 - threadIdx.x];
    if (barrier_at_end) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

TEST(Races, BarriersOrderABlock) {
  float x[64] = {}, y[64];
  expect_race([&] { run(reverse<false>, 1, 64, &x[0], &y[0]); });
  expect_no_race([&] { run(reverse<true>, 1, 64, &x[0], &y[0]); });
  expect_race([&] { run(sum_in_rounds<false>, 1, 64, &y[0]); });
  expect_no_race([&] { run(sum_in_rounds<true>, 1, 64, &y[0]); });
}

// ---- a warp's lanes ------------------------------------------------------------------------------------------------

enum class Between { nothing, shuffle, sync, sync_of_half };

template <Between between>
__global__ void swap_neighbours(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 64);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (between == Between::shuffle) y[threadIdx.x] = __shfl_xor_sync(whole_warp, 1.0F, 1);
  if (between == Between::sync) __syncwarp();
  if (between == Between::sync_of_half) __syncwarp(threadIdx.x % 32 < 16 ? 0xffffU : 0xffff0000U);
  y[threadIdx.x] = tile[threadIdx.x ^ 1U];
}
// Lanes of the two halves, each synchronised among itself, one after the other.
__global__ void exchange_halves(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 32);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncwarp(threadIdx.x < 16 ? 0xffffU : 0xffff0000U);
  y[threadIdx.x] = tile[threadIdx.x ^ 16U];
}
// Two warps: what orders a warp does not order another.
__global__ void exchange_warps(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 64);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncwarp();
  y[threadIdx.x] = tile[threadIdx.x ^ 32U];
}

TEST(Races, SyncwarpOrdersTheLanesOfItsMask) {
  float y[64];
  expect_race([&] { run(swap_neighbours<Between::nothing>, 1, 64, &y[0]); });
  expect_race([&] { run(swap_neighbours<Between::shuffle>, 1, 64, &y[0]); });
  expect_no_race([&] { run(swap_neighbours<Between::sync>, 1, 64, &y[0]); });
  expect_no_race([&] { run(swap_neighbours<Between::sync_of_half>, 1, 64, &y[0]); });
  expect_race([&] { run(exchange_halves, 1, 32, &y[0]); });
  expect_race([&] { run(exchange_warps, 1, 64, &y[0]); });
}

__global__ void sum_by_shuffles(const float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(whole_warp, sum, lanes);
  if (__any_sync(whole_warp, sum > 0) != 0) y[threadIdx.x] = sum;
}

template <bool sync>
__global__ void load_fragment(unsigned* y) {
  SKYMM_SHARED_ARRAY(std::uint16_t, tile, 256);
  for (unsigned i = 0; i < 8; ++i) tile[threadIdx.x * 8 + i] = static_cast<std::uint16_t>(i);
  if (sync) __syncwarp();
  unsigned loaded[4];
  ldmatrix_x4(loaded, tile + threadIdx.x * 8);
  y[threadIdx.x] = loaded[0] + loaded[1] + loaded[2] + loaded[3];
}

TEST(Races, ShufflesAndMatrixInstructionsExchangeRegisters) {
  float x[32] = {1}, y[32];
  unsigned sums[32];
  expect_no_race([&] { run(sum_by_shuffles, 1, 32, &x[0], &y[0]); });
  expect_race([&] { run(load_fragment<false>, 1, 32, &sums[0]); });
  expect_no_race([&] { run(load_fragment<true>, 1, 32, &sums[0]); });
}

// ---- asynchronous copies -------------------------------------------------------------------------------------------

enum class Barrier { none, before_wait, after_wait };

template <Barrier barrier>
__global__ void copy_for_neighbour(const float* x, float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 128);
  cp_async16(tile + threadIdx.x * 4, x + threadIdx.x * 4);
  cp_async_commit();
  if (barrier == Barrier::before_wait) __syncthreads();
  cp_async_wait<0>();
  if (barrier == Barrier::after_wait) __syncthreads();
  y[threadIdx.x] = tile[(31 - threadIdx.x) * 4];
}

// The tile is filled again while neighbours may still read it.
template <bool barrier>
__global__ void copy_over(const float* x, float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 128);
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    cp_async16(tile + threadIdx.x * 4, x + threadIdx.x * 4);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    sum += tile[(31 - threadIdx.x) * 4];
    if (barrier) __syncthreads();
  }
  y[threadIdx.x] = sum;
}

TEST(Races, AsynchronousCopiesNeedAWaitAndABarrier) {
  alignas(16) float x[128] = {}, y[32];
  expect_race([&] { run(copy_for_neighbour<Barrier::none>, 1, 32, &x[0], &y[0]); });
  expect_race([&] { run(copy_for_neighbour<Barrier::before_wait>, 1, 32, &x[0], &y[0]); });
  expect_no_race([&] { run(copy_for_neighbour<Barrier::after_wait>, 1, 32, &x[0], &y[0]); });
  expect_race([&] { run(copy_over<false>, 1, 32, &x[0], &y[0]); });
  expect_no_race([&] { run(copy_over<true>, 1, 32, &x[0], &y[0]); });
}

// ---- blocks and kernels --------------------------------------------------------------------------------------------

__global__ void add_block_to_total(float* total) {
  SKYMM_SHARED_ARRAY(float, part, 32);
  part[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) *total += part[31];
}
__global__ void add_blocks_atomically(unsigned* total) { atomic_add(total, 1U); }
// Locals are on a stack that a thread of the next block has too.
[[gnu::noinline]] void count_up(float (&numbers)[4]) {
  for (int i = 0; i < 4; ++i) numbers[i] = static_cast<float>(i);
}
__global__ void use_stack(float* y) {
  float numbers[4];
  count_up(numbers);
  y[blockIdx.x * blockDim.x + threadIdx.x] = numbers[threadIdx.x % 4];
}
__global__ void read_reversed(const float* x, float* y) {
  y[blockIdx.x * blockDim.x + threadIdx.x] = x[gridDim.x * blockDim.x - 1 - blockIdx.x * blockDim.x - threadIdx.x];
}

// The last block that is done adds up what all wrote.
template <bool acquire_release>
__global__ void sum_in_last_block(float* parts, unsigned* done, float* total) {
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = 1;
  const unsigned before = acquire_release ? atomic_add_acquire_release(done, 1U) : atomic_add(done, 1U);
  if (before != gridDim.x - 1) return;
  for (unsigned i = 0; i < gridDim.x; ++i) *total += parts[i];
}

TEST(Races, NothingOrdersTheBlocksOfAGrid) {
  float total = 0, parts[4], y[128];
  unsigned count = 0;
  expect_race([&] { run(add_block_to_total, 2, 32, &total); });
  expect_no_race([&] { run(add_block_to_total, 1, 32, &total); });
  expect_no_race([&] { run(use_stack, 4, 32, &y[0]); });
  expect_no_race([&] { run(add_blocks_atomically, 4, 32, &count); });
  expect_race([&] { run(sum_in_last_block<false>, 4, 32, &parts[0], &count, &total); });
  expect_no_race([&] { run(sum_in_last_block<true>, 4, 32, &parts[0], &count, &total); });
}

TEST(Races, KernelsAreOrdered) {
  std::vector<float> x(4 * 64), y(4 * 64);
  expect_no_race([&] {
    for (int i = 0; i < 3; ++i) {
      run(read_reversed, 4, 64, x.data(), y.data());
      run(read_reversed, 4, 64, y.data(), x.data());
      run(add_block_to_total, 1, 32, x.data());
      x[3] = y[5];
    }
  });
}

}  // namespace
}  // namespace skymm::cuda
