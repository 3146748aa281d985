// The emulation itself: that right kernels give right results in every order, and that each kind of mistake is found
// and named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "core/device.hpp"
#include "core/error.hpp"
#include "ops/kernels/cuda/primitives.hpp"

namespace skymm::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class InOrder : public ::testing::TestWithParam<Settings> {
 protected:
  void SetUp() override { settings() = GetParam(); }
  void TearDown() override { settings() = {}; }
};
std::string name_of(const Settings& settings) {
  constexpr const char* names[] = {"forward", "reverse", "random"};
  return names[static_cast<int>(settings.order)] + std::to_string(settings.seed);
}
INSTANTIATE_TEST_SUITE_P(Orders, InOrder,
                         ::testing::Values(Settings{Order::forward, 0}, Settings{Order::reverse, 0},
                                           Settings{Order::random, 1}, Settings{Order::random, 2}),
                         [](const auto& info) { return name_of(info.param); });

std::string message_of(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

template <class... P, class... A>
void run(void (*kernel)(P...), unsigned blocks, unsigned threads, std::size_t shared_bytes, A... a) {
  launch(kernel, blocks, threads, shared_bytes, cpu().default_stream(), a...);
}

// ---- right kernels -------------------------------------------------------------------------------------------------

__global__ void block_sums(const float* x, float* sums) {
  SKYMM_SHARED_ARRAY(float, of_warp, 32);
  const unsigned warps = blockDim.x / 32;
  for (int round = 0; round < 3; ++round) {
    float value = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(whole_warp, value, lanes);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    value = 0;
    for (unsigned i = 0; i < warps; ++i) value += of_warp[i];
    if (threadIdx.x == 0) sums[blockIdx.x] = value;
    __syncthreads();
  }
}

TEST_P(InOrder, BlocksSumThroughSharedMemory) {
  std::vector<float> x(5 * 96), sums(5);
  std::iota(x.begin(), x.end(), 0.0F);
  run(block_sums, 5, 96, 0, x.data(), sums.data());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(sums[i], 96 * (96 * i + 47.5F));
}

__global__ void copy_through_shared(const float* from, float* to, int count) {
  SKYMM_DYNAMIC_SHARED(bytes);
  auto* tile = reinterpret_cast<float*>(bytes);
  const int first = static_cast<int>(threadIdx.x) * 4;
  cp_async16(tile + first, from + (first < count ? first : 0), first < count);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) to[first + i] = tile[blockDim.x * 4 - 1 - static_cast<unsigned>(first + i)];
}

TEST_P(InOrder, AsynchronousCopiesArriveAndPadWithZeros) {
  alignas(16) float from[64], to[128];
  std::iota(std::begin(from), std::end(from), 1.0F);
  run(copy_through_shared, 1, 32, sizeof(to), from, to, 64);
  for (int i = 0; i < 128; ++i) EXPECT_EQ(to[i], 127 - i < 64 ? static_cast<float>(128 - i) : 0.0F) << i;
}

__global__ void lanes(int* ballot, int* up, int* down, int* first_of_8, int* votes) {
  const int lane = static_cast<int>(threadIdx.x);
  ballot[lane] = static_cast<int>(__ballot_sync(whole_warp, lane % 3 == 0));
  up[lane] = __shfl_up_sync(whole_warp, lane, 5);
  down[lane] = __shfl_down_sync(whole_warp, lane, 5, 16);
  first_of_8[lane] = __shfl_sync(whole_warp, lane, 0, 8);
  if (lane < 8) {
    const int sum = lane + __shfl_xor_sync(0xffU, lane, 1);
    __syncwarp(0xffU);
    first_of_8[lane] += 100 * sum;
  }
  votes[lane] = __syncthreads_count(lane < 7);
}

TEST_P(InOrder, WarpsExchangeValues) {
  int ballot[32], up[32], down[32], first[32], votes[32];
  run(lanes, 1, 32, 0, ballot, up, down, first, votes);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(ballot[i], 0x49249249);
    EXPECT_EQ(up[i], i < 5 ? i : i - 5);
    EXPECT_EQ(down[i], i % 16 + 5 < 16 ? i + 5 : i);
    EXPECT_EQ(first[i], i / 8 * 8 + (i < 8 ? 100 * (i + (i ^ 1)) : 0));
    EXPECT_EQ(votes[i], 7);
  }
}

// ---- lane tables, as the PTX ISA gives them (see primitives.hpp) ---------------------------------------------------

__global__ void load_one(const std::uint16_t* matrices, unsigned* registers, bool transposed) {
  SKYMM_SHARED_ARRAY(std::uint16_t, tile, 256);
  for (int i = 0; i < 8; ++i)
    tile[threadIdx.x * 8 + static_cast<unsigned>(i)] = matrices[threadIdx.x * 8 + static_cast<unsigned>(i)];
  __syncthreads();
  unsigned loaded[4];
  transposed ? ldmatrix_x4_trans(loaded, tile + threadIdx.x * 8) : ldmatrix_x4(loaded, tile + threadIdx.x * 8);
  for (int i = 0; i < 4; ++i) registers[threadIdx.x * 4 + static_cast<unsigned>(i)] = loaded[i];
}

TEST_P(InOrder, LdmatrixGivesEachLaneItsElements) {
  std::uint16_t matrices[4][8][8];  // element: 100 matrix + 10 row + column
  for (int m = 0; m < 4; ++m) {
    for (int r = 0; r < 8; ++r) {
      for (int c = 0; c < 8; ++c) matrices[m][r][c] = static_cast<std::uint16_t>(100 * m + 10 * r + c);
    }
  }
  unsigned got[32][4], turned[32][4];
  run(load_one, 1, 32, 0, &matrices[0][0][0], &got[0][0], false);
  run(load_one, 1, 32, 0, &matrices[0][0][0], &turned[0][0], true);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      EXPECT_EQ(got[lane][i] & 0xffffU, 100 * i + 10 * g + 2 * t);
      EXPECT_EQ(got[lane][i] >> 16, 100 * i + 10 * g + 2 * t + 1);
      EXPECT_EQ(turned[lane][i] & 0xffffU, 100 * i + 10 * (2 * t) + g);
      EXPECT_EQ(turned[lane][i] >> 16, 100 * i + 10 * (2 * t + 1) + g);
    }
  }
}

__global__ void multiply_one(const unsigned* a, const unsigned* b, float* c) {
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = c[threadIdx.x * 4 + static_cast<unsigned>(i)];
  const unsigned* mine = a + threadIdx.x * 4;
  const unsigned fragment[4] = {mine[0], mine[1], mine[2], mine[3]};
  mma_m16n8k16(sums, fragment, b[threadIdx.x * 2], b[threadIdx.x * 2 + 1]);
  for (int i = 0; i < 4; ++i) c[threadIdx.x * 4 + static_cast<unsigned>(i)] = sums[i];
}

TEST_P(InOrder, MmaMultipliesByTheLaneTables) {
  float a[16][16], b[16][8];
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < 16; ++k) a[i][k] = static_cast<float>((i * 7 + k * 3) % 11 - 5);
    for (int j = 0; j < 8; ++j) b[i][j] = static_cast<float>((i * 5 + j * 13) % 9 - 4);
  }
  // {row, column} of the first of the two values of each register, transcribed; the second is the next column of A, the
  // next row of B.
  const auto a_at = [](unsigned g, unsigned t, int i) {
    const unsigned rows[] = {g, g + 8, g, g + 8}, columns[] = {2 * t, 2 * t, 2 * t + 8, 2 * t + 8};
    return std::pair(rows[i], columns[i]);
  };
  unsigned a_registers[32][4], b_registers[32][2];
  float c[32][4];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const auto [row, column] = a_at(g, t, i);
      a_registers[lane][i] = pack_bf16(a[row][column], a[row][column + 1]);
      c[lane][i] = 1000;
    }
    b_registers[lane][0] = pack_bf16(b[2 * t][g], b[2 * t + 1][g]);
    b_registers[lane][1] = pack_bf16(b[2 * t + 8][g], b[2 * t + 9][g]);
  }
  run(multiply_one, 1, 32, 0, &a_registers[0][0], &b_registers[0][0], &c[0][0]);
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = i < 2 ? g : g + 8, column = 2 * t + i % 2;
      float sum = 1000;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      EXPECT_EQ(c[lane][i], sum) << "lane " << lane << " register " << i;
    }
  }
}

// ---- mistakes ------------------------------------------------------------------------------------------------------

__global__ void diverge() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void return_before_barrier() {
  if (threadIdx.x == 3) return;
  __syncthreads();
}
__global__ void wait_for_ever() {
  if (threadIdx.x != 3)
    __syncwarp();
  else
    __syncthreads();
}
__global__ void shuffle_outside() {
  if (threadIdx.x < 4) __shfl_sync(0xfU, 1.0F, 9);
}
__global__ void mask_without_me() { __syncwarp(0x1U); }
__global__ void mask_beyond_block() { __syncwarp(whole_warp); }
__global__ void misaligned(const float* x, float* y) { store_vector(y, load_vector<float4>(x + 1)); }
__global__ void never_waited(const float* x) {
  SKYMM_SHARED_ARRAY(float, tile, 4);
  cp_async16(tile, x);
}
__global__ void too_much_shared() {
  SKYMM_SHARED_ARRAY(float, tile, 13 * 1024);
  tile[threadIdx.x] = 0;
}
__global__ void shared_of_both_kinds() {
  SKYMM_SHARED_ARRAY(float, tile, 5 * 1024);
  tile[threadIdx.x] = 0;
}

TEST_P(InOrder, BreachesAreNamed) {
  alignas(16) float x[8] = {}, y[4];
  EXPECT_THAT(message_of([] { run(diverge, 1, 64, 0); }),
              AllOf(HasSubstr("divergent __syncthreads"), HasSubstr("block (0, 0, 0), thread "),
                    HasSubstr("emulation_test.cpp"), HasSubstr("diverge")));
  EXPECT_THAT(message_of([] { run(return_before_barrier, 1, 64, 0); }),
              ::testing::AnyOf(HasSubstr("have returned"), HasSubstr("wait for ever")));
  EXPECT_THAT(message_of([] { run(wait_for_ever, 1, 32, 0); }), HasSubstr("32 threads wait for ever"));
  EXPECT_THAT(message_of([] { run(shuffle_outside, 1, 32, 0); }), HasSubstr("a lane that is not in its mask"));
  EXPECT_THAT(message_of([] { run(mask_without_me, 1, 32, 0); }), HasSubstr("not in the mask 0x1"));
  EXPECT_THAT(message_of([] { run(mask_beyond_block, 1, 20, 0); }), HasSubstr("lanes that the block does not have"));
  EXPECT_THAT(message_of([&] { run(misaligned, 1, 1, 0, &x[0], &y[0]); }), HasSubstr("that 16 does not divide"));
  EXPECT_THAT(message_of([&] { run(never_waited, 1, 1, 0, &x[0]); }), HasSubstr("never waited for"));
  EXPECT_THAT(message_of([] { run(too_much_shared, 1, 1, 0); }), HasSubstr("53248 bytes of shared memory"));
  EXPECT_THAT(message_of([] { run(shared_of_both_kinds, 1, 1, 30 * 1024); }), HasSubstr("of at most 49152 for"));
  EXPECT_THAT(message_of([] { run(shared_of_both_kinds, 1, 1, 160 * 1024); }), HasSubstr("of at most 166912 "));
  EXPECT_EQ(message_of([] { run(shared_of_both_kinds, 1, 1, 40 * 1024); }), "no error");
  EXPECT_THAT(message_of([] { run(diverge, 1, 2048, 0); }), HasSubstr("2048 x 1 x 1 threads cannot be launched"));
}

__global__ void read_unwritten(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 4);
  y[0] = tile[0];
}
__global__ void read_before_wait(const float* x, float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 4);
  cp_async16(tile, x);
  cp_async_commit();
  y[0] = tile[0];
  cp_async_wait<0>();
}
__global__ void no_barrier(float* y) {
  SKYMM_SHARED_ARRAY(float, tile, 64);
  tile[threadIdx.x] = 1;
  y[threadIdx.x] = tile[63 - threadIdx.x];
}

TEST_P(InOrder, ValuesThatAreNotThereYetAreNaN) {
  alignas(16) float x[4] = {}, y[64] = {};
  run(read_unwritten, 1, 1, 0, &y[0]);
  EXPECT_TRUE(std::isnan(y[0]));
  y[0] = 0;
  run(read_before_wait, 1, 1, 0, &x[0], &y[0]);
  EXPECT_TRUE(std::isnan(y[0]));
  run(no_barrier, 1, 64, 0, &y[0]);
  EXPECT_TRUE(std::any_of(std::begin(y), std::end(y), [](float v) { return std::isnan(v); }));
}

TEST(Bf16, RoundsToNearestEven) {
  const auto round = [](unsigned bits) { return from_float<bf16>(__uint_as_float(bits)).bits; };
  EXPECT_EQ(round(0x3f808000U), 0x3f80);  // halfway: to the even one
  EXPECT_EQ(round(0x3f818000U), 0x3f82);
  EXPECT_EQ(round(0x3f808001U), 0x3f81);
  EXPECT_EQ(round(0x7f7fffffU), 0x7f80);  // the largest f32: infinity
  EXPECT_TRUE(std::isnan(to_float(from_float<bf16>(NAN))));
}

}  // namespace
}  // namespace skymm::cuda
