#include "ops/kernels/cuda/columns.hpp"

namespace skymm::cuda {

__global__ void add_column_parts_kernel(const float* partial, int parts, int width, float* to) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (column >= width) return;
  float sum = 0;
  for (int part = 0; part < parts; ++part) sum += partial[static_cast<std::int64_t>(part) * width + column];
  to[column] += sum;
}

}  // namespace skymm::cuda
