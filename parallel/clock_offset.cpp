#include "parallel/clock_offset.hpp"

#include <chrono>
#include <cstdlib>
#include <limits>
#include <vector>

namespace skymm {
namespace {

constexpr int questions = 8;

Tensor one(std::int64_t value) { return Tensor::from(std::vector<std::int64_t>{value}, {1}); }
std::int64_t value_of(const Tensor& x) { return x.to_vector<std::int64_t>()[0]; }

// On rank 0: of another rank.
std::int64_t ask(Communicator& world, int rank, const HostClock& clock) {
  std::int64_t soonest = std::numeric_limits<std::int64_t>::max(), offset = 0;
  const Tensor answer = one(0);
  for (int i = 0; i < questions; ++i) {
    const std::int64_t asked = clock();
    world.send(one(i), rank);
    world.recv(answer, rank);
    const std::int64_t there_and_back = clock() - asked;
    if (there_and_back >= soonest) continue;
    soonest = there_and_back;
    offset = value_of(answer) - (asked + there_and_back / 2);
  }
  return std::abs(offset) <= soonest / 2 ? 0 : offset;
}

}  // namespace

std::int64_t system_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::int64_t clock_offset(Communicator& world, const HostClock& clock) {
  if (world.rank() == 0) {
    for (int rank = 1; rank < world.size(); ++rank) world.send(one(ask(world, rank, clock)), rank);
    return 0;
  }
  const Tensor message = one(0);
  for (int i = 0; i < questions; ++i) {
    world.recv(message, 0);
    world.send(one(clock()), 0);
  }
  world.recv(message, 0);
  return value_of(message);
}

}  // namespace skymm
