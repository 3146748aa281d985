// The bodies of ops/kernels/cuda/primitives.hpp for the emulation, and the parts of CUDA C++ itself that kernels use.
// Only that header includes this one.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/stream.hpp"
#include "cuda_emulation/emulation.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define threadIdx (::skymm::cuda_emulation::current->thread)
#define blockIdx (::skymm::cuda_emulation::current->block)
#define blockDim (::skymm::cuda_emulation::current->block_size)
#define gridDim (::skymm::cuda_emulation::current->grid_size)

#define SKYMM_SHARED_ARRAY(type, name, count)                                   \
  static char name##_tag;                                                       \
  auto* const name = static_cast<type*>(::skymm::cuda_emulation::static_shared( \
      &name##_tag, sizeof(type) * (count), ::skymm::cuda_emulation::Location::current()))
#define SKYMM_DYNAMIC_SHARED(name) \
  auto* const name = static_cast<unsigned char*>(::skymm::cuda_emulation::dynamic_shared())

namespace skymm::cuda {

using namespace cuda_emulation;  // dim3, float4 and so on, which CUDA has at global scope
using std::max;
using std::min;

// ---- launch --------------------------------------------------------------------------------------------------------

struct LaunchGrid : dim3 {  // a dim3 that remembers who launches
  LaunchGrid(dim3 size, Location where_ = Location::current()) : dim3(size), where(where_) {}
  LaunchGrid(unsigned size, Location where_ = Location::current()) : dim3(size), where(where_) {}
  LaunchGrid(int size, Location where_ = Location::current()) : dim3(static_cast<unsigned>(size)), where(where_) {}
  LaunchGrid(std::int64_t size, Location where_ = Location::current())
      : dim3(static_cast<unsigned>(size)), where(where_) {}
  Location where;
};

template <class... P, class... A>
void launch(void (*kernel)(P...), LaunchGrid grid, dim3 block, std::size_t shared_bytes, Stream& stream, A&&... a) {
  const SharedMemory shared{shared_bytes, shared_bytes > dynamic_shared_without_asking};
  stream.enqueue([=, arguments = std::tuple<P...>(std::forward<A>(a)...)] {
    run_grid([&] { std::apply(kernel, arguments); }, grid, block, shared, grid.where);
  });
}

// ---- a block's threads ---------------------------------------------------------------------------------------------

inline void __syncthreads(Location where = Location::current()) { block_barrier(0, Reduction::any, where); }
inline int __syncthreads_or(int predicate, Location where = Location::current()) {
  return block_barrier(predicate, Reduction::any, where);
}
inline int __syncthreads_and(int predicate, Location where = Location::current()) {
  return block_barrier(predicate, Reduction::all, where);
}
inline int __syncthreads_count(int predicate, Location where = Location::current()) {
  return block_barrier(predicate, Reduction::count, where);
}
inline void __syncwarp(unsigned mask = ~0U, Location where = Location::current()) {
  leave(meet(mask, WarpOperation::sync, &mask, sizeof(mask), where));
}

// What lane `source` brought.
template <class T>
T exchange(unsigned mask, WarpOperation operation, T value, unsigned source, Location where) {
  static_assert(sizeof(T) <= Rendezvous::lane_bytes);
  if ((mask >> source & 1U) == 0) fail_thread("a shuffle reads a lane that is not in its mask", where);
  Rendezvous& all = meet(mask, operation, &value, sizeof(T), where);
  std::memcpy(&value, all.data[source], sizeof(T));
  leave(all);
  return value;
}
inline unsigned first_of_part(int width) { return current->lane & ~static_cast<unsigned>(width - 1); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, Location where = Location::current()) {
  const unsigned source = current->lane ^ static_cast<unsigned>(lanes);
  const bool beyond = source >= first_of_part(width) + static_cast<unsigned>(width);
  return exchange(mask, WarpOperation::shuffle_xor, value, beyond ? current->lane : source, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, Location where = Location::current()) {
  const unsigned source = current->lane + lanes;
  const bool beyond = source >= first_of_part(width) + static_cast<unsigned>(width);
  return exchange(mask, WarpOperation::shuffle_down, value, beyond ? current->lane : source, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, Location where = Location::current()) {
  const bool beyond = current->lane < first_of_part(width) + lanes;
  return exchange(mask, WarpOperation::shuffle_up, value, beyond ? current->lane : current->lane - lanes, where);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, Location where = Location::current()) {
  const unsigned lane = first_of_part(width) + (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1));
  return exchange(mask, WarpOperation::shuffle, value, lane, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, Location where = Location::current()) {
  Rendezvous& all = meet(mask, WarpOperation::ballot, &predicate, sizeof(predicate), where);
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    int vote = 0;
    if ((mask >> lane & 1U) != 0) std::memcpy(&vote, all.data[lane], sizeof(vote));
    if (vote != 0) result |= 1U << lane;
  }
  leave(all);
  return result;
}
inline int __any_sync(unsigned mask, int predicate, Location where = Location::current()) {
  return __ballot_sync(mask, predicate, where) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate, Location where = Location::current()) {
  return __ballot_sync(mask, predicate, where) == mask ? 1 : 0;
}

// ---- scalars -------------------------------------------------------------------------------------------------------

inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }

inline std::uint16_t round_to_bf16(float x) {
  const unsigned word = __float_as_uint(x);
  if ((word & 0x7fffffffU) > 0x7f800000U) return 0x7fff;  // what the GPU's conversion makes of every NaN
  return static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
}

// ---- memory --------------------------------------------------------------------------------------------------------

inline void check_aligned(const void* address, std::size_t bytes, Location where) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes == 0) return;
  fail_thread("a vector access at an address that " + std::to_string(bytes) + " does not divide", where);
}
template <class V, class T>
V load_vector(const T* from, Location where = Location::current()) {
  check_aligned(from, sizeof(V), where);
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}
template <class V, class T>
void store_vector(T* to, const V& value, Location where = Location::current()) {
  check_aligned(to, sizeof(V), where);
  std::memcpy(to, &value, sizeof(V));
}

template <class T>
T atomic_add(T* to, T value) {
  return std::atomic_ref<T>(*to).fetch_add(value, std::memory_order_relaxed);
}
inline unsigned atomic_add_acquire_release(unsigned* to, unsigned value) {
  return std::atomic_ref<unsigned>(*to).fetch_add(value, std::memory_order_acq_rel);
}
inline unsigned load_acquire(const unsigned* from) {
  return std::atomic_ref<unsigned>(*const_cast<unsigned*>(from)).load(std::memory_order_acquire);
}
inline void store_release(unsigned* to, unsigned value) {
  std::atomic_ref<unsigned>(*to).store(value, std::memory_order_release);
}

inline void cp_async16(void* shared, const void* global, bool from_global = true,
                       Location where = Location::current()) {
  async_copy(shared, global, from_global, where);
}
inline void cp_async_commit() { commit_async_copies(); }
template <int groups_in_flight>
void cp_async_wait() {
  wait_async_copies(groups_in_flight);
}

// ---- matrix instructions: the lane tables are in primitives.hpp ----------------------------------------------------

inline void load_matrices(unsigned (&to)[4], const void* row, bool transposed, Location where) {
  check_aligned(row, 16, where);
  Rendezvous& all = meet(~0U, WarpOperation::load_matrix, &row, sizeof(row), where);
  const unsigned group = current->lane / 4, pair = current->lane % 4 * 2;
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    std::uint16_t halves[2];
    for (unsigned half = 0; half < 2; ++half) {
      const unsigned r = transposed ? pair + half : group, column = transposed ? group : pair + half;
      const unsigned char* address = nullptr;
      std::memcpy(&address, all.data[matrix * 8 + r], sizeof(address));
      std::memcpy(&halves[half], address + column * 2, 2);
    }
    to[matrix] = halves[0] | static_cast<unsigned>(halves[1]) << 16;
  }
  leave(all);
}
inline void ldmatrix_x4(unsigned (&to)[4], const void* row, Location where = Location::current()) {
  load_matrices(to, row, false, where);
}
inline void ldmatrix_x4_trans(unsigned (&to)[4], const void* row, Location where = Location::current()) {
  load_matrices(to, row, true, where);
}

inline void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                         Location where = Location::current()) {
  const cuda_emulation::Fragment mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  Rendezvous& all = meet(~0U, WarpOperation::mma, &mine, sizeof(mine), where);
  cuda_emulation::add_product(c, all, current->lane);
  leave(all);
}

}  // namespace skymm::cuda
