// Tensors of the tested device that ranks exchange, and what the tests of communicators share.
#pragma once

#include <cstdint>

#include "support/mpi_main.hpp"
#include "support/support.hpp"

namespace skymm::testing {

struct SmallMessages {  // MPI moves everything in many pieces
  explicit SmallMessages(std::int64_t bytes) { mpi().set_largest_message(bytes); }
  ~SmallMessages() { mpi().set_largest_message(std::int64_t{1} << 30); }
  static MpiCommunicator& mpi() { return dynamic_cast<MpiCommunicator&>(ranks()); }
};

inline Tensor of_rank(int rank, std::int64_t n, DType dtype) { return random_tensor({n}, dtype, 100 + rank); }
inline Tensor full(const Shape& shape, DType dtype, double value) {
  return Tensor::full(shape, dtype, value, tested_device());
}
inline Tensor zeros(const Shape& shape, DType dtype) { return full(shape, dtype, 0); }

// So many elements that they go the way of large tensors; a tenth where filling them is slow.
inline std::int64_t many(std::int64_t elements) { return tested_device().is_emulated() ? elements / 10 : elements; }

}  // namespace skymm::testing
