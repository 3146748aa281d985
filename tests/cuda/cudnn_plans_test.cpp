// Asks cuDNN whether it has engines for the graphs that it is given, for GPUs that are not there: it takes a GPU by its
// properties, and compiles for it. What the kernels compute only a GPU shows (cudnn_test.cpp). The driver is a stub
// (stub_driver): cuDNN loads what it has compiled into it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ops/kernels/cuda/nvidia/cudnn/graphs.hpp"
#include "ops/kernels/cuda/nvidia/cudnn/plan.hpp"

namespace skymm::testing {
namespace {

using namespace cuda::cudnn;

struct Gpu {
  const char* name;
  int capability, multiprocessors, shared_memory;
  std::int64_t l2_cache;
};

Descriptor properties_of(const Gpu& gpu) {
  const std::string json = fmt::format(
      R"({{"deviceName": "{}", "deviceVer": {}, "multiProcessorCount": {}, "maxSharedMemoryPerBlockOptin": {},
           "l2CacheSize": {}, "driverVer": 13000, "maxSharedMemoryPerBlock": 49152, "reservedSharedMemoryPerBlock": 1024,
           "totalGlobalMem": 85000000000, "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
           "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "warpSize": 32, "smClockRateKHz": 1410000,
           "memClockRateKHz": 1593000, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048,
           "isTccDriver": 0, "supportCoopLaunch": 1, "pciDeviceId": 0, "cudaDeviceId": 0}})",
      gpu.name, gpu.capability, gpu.multiprocessors, gpu.shared_memory, gpu.l2_cache);
  Descriptor properties(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, json.c_str(),
                 static_cast<std::int64_t>(json.size() + 1));
  properties.finalize();
  return properties;
}

class CudnnPlans : public ::testing::TestWithParam<Gpu> {
 protected:
  template <class Problem>
  std::unique_ptr<Plan> plan_of(const Problem& problem) const {
    return Plan::find(graph_of(problem).graph, {.properties = &properties_});
  }

 private:
  Descriptor properties_ = properties_of(GetParam());
};

// q, k and v side by side in rows, as a layer's product leaves them.
AttentionSizes attention(std::int64_t sequences, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                         std::int64_t kv_heads, std::int64_t width, bool causal) {
  const HeadSteps in{(heads + 2 * kv_heads) * width, width}, out{heads * width, width};
  return {.sequences = sequences,
          .queries = queries,
          .keys = keys,
          .heads = heads,
          .kv_heads = kv_heads,
          .width = width,
          .causal = causal,
          .scale = 0.125F,
          .q = in,
          .k = in,
          .v = in,
          .out = out,
          .dout = out,
          .dq = in,
          .dk = in,
          .dv = in};
}

TEST_P(CudnnPlans, AttentionAndItsGradient) {
  for (AttentionSizes sizes : {attention(4, 577, 577, 16, 16, 64, false), attention(2, 256, 256, 16, 4, 128, true),
                               attention(2, 129, 129, 6, 1, 80, true), attention(3, 33, 33, 3, 3, 24, false),
                               attention(4, 64, 577, 8, 8, 128, false), attention(2, 200, 40, 4, 2, 32, false)}) {
    for (const bool gradient : {false, true}) {
      sizes.gradient = gradient;
      EXPECT_NE(plan_of(sizes), nullptr) << fmt::format(
          "{} x {} queries, {} keys, {} heads of {}, width {}, causal {}, gradient {}", sizes.sequences, sizes.queries,
          sizes.keys, sizes.heads, sizes.kv_heads, sizes.width, sizes.causal, gradient);
    }
  }
}

TEST_P(CudnnPlans, PatchEmbedding) {
  for (const std::int64_t patch : {14, 16}) {
    for (const bool bias : {false, true}) {
      EXPECT_NE(plan_of(PatchSizes{4, 3, 224, 224, patch, 1024, bias}), nullptr) << patch << " " << bias;
    }
  }
}

// What cuDNN cannot do is an answer, not an error.
TEST_P(CudnnPlans, ThereIsNoneForAWidthThatCudnnDoesNotTake) {
  EXPECT_EQ(plan_of(attention(2, 64, 64, 4, 4, 20, false)), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Gpus, CudnnPlans,
                         ::testing::Values(Gpu{"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 41943040},
                                           Gpu{"NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800},
                                           Gpu{"NVIDIA B200", 1000, 148, 232448, 132644864}),
                         [](const auto& info) { return fmt::format("sm_{}", info.param.capability / 10); });

}  // namespace
}  // namespace skymm::testing
