// What this machine can do at best, measured when asked: the ceilings beside which benchmarks put their figures.
#pragma once

#include "core/tensor.hpp"

namespace skymm::bench {

// Multiplications and additions a second of `threads` threads at once, from registers.
double peak_flops_f32(int threads);
// The same with bf16 pairs summed in f32; 0 where the machine has no such instruction.
double peak_flops_bf16(int threads);
// Bytes a second of `threads` threads that read (or copy: bytes read plus bytes written) far more than the caches hold.
double read_bandwidth(int threads);
double copy_bandwidth(int threads);

// Memory of the CPU's allocator, which lies in huge pages where the system gives them, to be read beside what is timed.
class ReadPass {
 public:
  explicit ReadPass(std::size_t bytes);
  double seconds() const;  // of reading it once on all threads, in one piece each

 private:
  Tensor memory_;  // u8
};

}  // namespace skymm::bench
