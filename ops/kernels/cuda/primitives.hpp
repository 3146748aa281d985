// What kernels are written in. The only header with PTX, shared-memory declarations and the launch; kernels include it
// and nothing of CUDA's. Each primitive has two bodies: the device's here, for nvcc, and the emulation's in
// tests/cuda_emulation/primitives.hpp, with which g++ compiles the same kernels for machines without a GPU.
//
// Besides what is below, kernels may use of CUDA C++: __global__, __device__, __launch_bounds__, threadIdx, blockIdx,
// blockDim, gridDim, dim3, float2, float4, uint2, uint4 and their make_ functions, __syncthreads (also _or, _and,
// _count), __syncwarp, __shfl_sync (also _xor, _up, _down), __ballot_sync, __any_sync, __all_sync, the float functions
// of the mathematical library, rsqrtf, min, max, __float_as_uint, __uint_as_float, __umulhi, __popc, __ffs, __clz.
//
// Rules: masks are explicit; no thread returns before a barrier of its block; arguments are values or pointers to
// device memory; locals need no destructor; a 16-byte access only where is_aligned() or the layout promises it.
//
//   SKYMM_SHARED_ARRAY(float, partial, 32)   float* partial: 32 floats of the block, undefined at first
//   SKYMM_DYNAMIC_SHARED(bytes)              unsigned char* bytes: as many as the launch gave
//   launch(kernel, grid, block, shared_bytes, stream, arguments...)
#pragma once

#include <cstddef>
#include <cstdint>

namespace skymm::cuda {

// A block has 48 KiB of shared memory, static and dynamic together; for more a launch must ask. It does where it gives
// more than this: so a kernel that has a dynamic part has at most 16 KiB of static memory.
inline constexpr std::size_t dynamic_shared_without_asking = 32 * 1024;

}  // namespace skymm::cuda

#if !defined(__CUDACC__)
#include "cuda_emulation/primitives.hpp"
#else
#include <utility>

#include "core/stream.hpp"
#include "ops/kernels/cuda/runtime_error.hpp"

#define SKYMM_SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define SKYMM_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace skymm::cuda {

// Enqueues a grid on the stream. Throws Error where the device refuses its size.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream& stream, A&&... a) {
  if (shared_bytes > dynamic_shared_without_asking) {
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               "asking for shared memory");
  }
  cudaLaunchConfig_t configuration{};
  configuration.gridDim = grid;
  configuration.blockDim = block;
  configuration.dynamicSmemBytes = shared_bytes;
  configuration.stream = static_cast<cudaStream_t>(stream.native_handle());
  check_cuda(cudaLaunchKernelEx(&configuration, kernel, static_cast<P>(std::forward<A>(a))...), "launching a kernel");
}

// Vector accesses of sizeof(V) bytes, a power of two up to 16 that divides the address.
template <class V, class T>
__device__ __forceinline__ V load_vector(const T* from) {
  static_assert(alignof(V) == sizeof(V));
  return *reinterpret_cast<const V*>(from);
}
template <class V, class T>
__device__ __forceinline__ void store_vector(T* to, const V& value) {
  static_assert(alignof(V) == sizeof(V));
  *reinterpret_cast<V*>(to) = value;
}

// The value before. Relaxed: they order nothing else.
template <class T>
__device__ __forceinline__ T atomic_add(T* to, T value) {
  return atomicAdd(to, value);
}
// Hand-over between blocks: what was written before the release is seen after the acquire, on the whole device.
__device__ __forceinline__ unsigned atomic_add_acquire_release(unsigned* to, unsigned value) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(to), "r"(value) : "memory");
  return before;
}
__device__ __forceinline__ unsigned load_acquire(const unsigned* from) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}
__device__ __forceinline__ void store_release(unsigned* to, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes from global to shared memory in the background; writes zeros where not from_global. Both addresses
// are multiples of 16. The bytes are there for the thread after a wait, for its block after a barrier that follows it.
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool from_global = true) {
  const int bytes = from_global ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
               : "memory");
}
// Ends a group of copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most so many of the thread's latest groups are under way. Each thread waits for all before it ends.
template <int groups_in_flight>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_in_flight) : "memory");
}

// Lanes of matrix instructions (PTX ISA, "Matrix multiply-accumulate operation using mma instruction", m16n8k16 with
// .bf16, and "ldmatrix"). With g = lane / 4 and t = lane % 4, two bf16 in a register, the lower half first:
//   A [16, 16]  a0 = A[g][2t, 2t+1], a1 = A[g+8][2t, 2t+1], a2 = A[g][2t+8, 2t+9], a3 = A[g+8][2t+8, 2t+9]
//   B [16, 8]   b0 = B[2t, 2t+1][g], b1 = B[2t+8, 2t+9][g]
//   C [16, 8]   c0, c1 = C[g][2t, 2t+1], c2, c3 = C[g+8][2t, 2t+1]
// ldmatrix: lanes 8 i to 8 i + 7 give the addresses of the rows of the 8 x 8 matrix i, multiples of 16; register i
// receives its row g, columns 2t, 2t+1; transposed: rows 2t, 2t+1 of column g. All 32 lanes take part.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
// C += A B
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ std::uint16_t round_to_bf16(float x) {
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

}  // namespace skymm::cuda
#endif

namespace skymm::cuda {

inline constexpr unsigned whole_warp = 0xffffffffU;
inline constexpr int warp_size = 32;

// ---- bf16: the layout of core/dtype.hpp's BFloat16 -----------------------------------------------------------------

struct bf16 {
  std::uint16_t bits;
};
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
template <class T>
__device__ __forceinline__ T from_float(float x);  // bf16: to the nearest, halves to even
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return {round_to_bf16(x)};
}
// Two in a register, as matrix instructions take them: the first in the lower half.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  return round_to_bf16(low) | static_cast<unsigned>(round_to_bf16(high)) << 16;
}
__device__ __forceinline__ float2 unpack_bf16(unsigned two) {
  return make_float2(__uint_as_float(two << 16), __uint_as_float(two & 0xffff0000U));
}

// ---- vectors of 16 bytes -------------------------------------------------------------------------------------------

template <class T>
inline constexpr int vector_width = 16 / static_cast<int>(sizeof(T));  // 4 f32 or 8 bf16

template <class T>
__host__ __device__ __forceinline__ bool is_aligned(const T* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
}

// 16 bytes of T as floats; `from` and `to` are aligned.
__device__ __forceinline__ void load_floats(const float* from, float (&to)[4]) {
  const float4 v = load_vector<float4>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
__device__ __forceinline__ void load_floats(const bf16* from, float (&to)[8]) {
  const uint4 v = load_vector<uint4>(from);
  const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = unpack_bf16(words[i]);
    to[2 * i] = two.x, to[2 * i + 1] = two.y;
  }
}
__device__ __forceinline__ void store_floats(float* to, const float (&from)[4]) {
  store_vector(to, make_float4(from[0], from[1], from[2], from[3]));
}
__device__ __forceinline__ void store_floats(bf16* to, const float (&from)[8]) {
  store_vector(to, make_uint4(pack_bf16(from[0], from[1]), pack_bf16(from[2], from[3]), pack_bf16(from[4], from[5]),
                              pack_bf16(from[6], from[7])));
}

}  // namespace skymm::cuda
