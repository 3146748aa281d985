#include "launch/training/peak.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "core/error.hpp"

namespace skymm {
namespace {

TEST(GemmPeak, IsAPositiveFigureAndLeavesThreadsAsTheyWere) {
  const int threads = omp_get_max_threads();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double peak = measured_gemm_peak(dtype, 1);
    EXPECT_TRUE(std::isfinite(peak));
    EXPECT_GT(peak, 0);
    RecordProperty(std::string(name_of(dtype)), std::to_string(peak));
  }
  EXPECT_EQ(omp_get_max_threads(), threads);
  EXPECT_THROW(measured_gemm_peak(DType::i8), Error);
}

}  // namespace
}  // namespace skymm
