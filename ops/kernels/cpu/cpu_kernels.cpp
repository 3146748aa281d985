#include "ops/kernels/cpu/cpu_kernels.hpp"

#include <hwy/highway.h>

#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>

#include "core/error.hpp"
#include "ops/kernels/cpu/backend.hpp"

namespace skymm {
namespace {

struct InstructionSet {
  const char* name;
  dnnl::cpu_isa onednn;  // the most that oneDNN may use
  std::int64_t highway;  // the targets that Highway may use
};

constexpr std::int64_t sse4_and_less = ~(std::int64_t{HWY_SSE4} - 1);
constexpr std::int64_t avx2_and_less = ~(std::int64_t{HWY_AVX2} - 1);
constexpr InstructionSet instruction_sets[] = {
    {"avx512", dnnl::cpu_isa::avx512_core_bf16, -1},
    {"avx2", dnnl::cpu_isa::avx2, avx2_and_less},
    {"sse4", dnnl::cpu_isa::sse41, sse4_and_less},
};

}  // namespace

void cap_cpu_instruction_set(const char* name) {
  for (const InstructionSet& set : instruction_sets) {
    if (std::string_view(name) != set.name) continue;
    const dnnl::status status = dnnl::set_max_cpu_isa(set.onednn);
    check(status == dnnl::status::success, "the instruction set can be capped only before the first kernel runs");
    hwy::DisableTargets(~set.highway);  // a lower bit is a better target
    return;
  }
  fail("instruction set '{}' is unknown; give avx512, avx2 or sse4", name);
}

Kernels& cpu_kernels() {
  static Kernels* const backend = [] {
    if (const char* name = std::getenv("SKYMM_CPU_ISA"); name != nullptr && *name != '\0')
      cap_cpu_instruction_set(name);
    return new CpuKernels;
  }();
  return *backend;
}

}  // namespace skymm
