// What this machine can do at best, measured when asked: the ceilings beside which benchmarks put their figures.
#pragma once

namespace skymm::bench {

// Multiplications and additions a second of `threads` threads at once, from registers.
double peak_flops_f32(int threads);
// The same with bf16 pairs summed in f32; 0 where the machine has no such instruction.
double peak_flops_bf16(int threads);
// Bytes a second of `threads` threads that read (or copy: bytes read plus bytes written) far more than the caches hold.
double read_bandwidth(int threads);
double copy_bandwidth(int threads);

}  // namespace skymm::bench
