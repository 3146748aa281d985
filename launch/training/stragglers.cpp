#include "launch/training/stragglers.hpp"

#include <algorithm>

#include "core/log.hpp"
#include "parallel/status_board.hpp"

namespace skymm {
namespace {

constexpr double excess_told = 0.2;  // of the others' time

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

}  // namespace

std::vector<Straggler> find_stragglers(const std::vector<double>& seconds, const std::vector<int>& stages) {
  std::vector<Straggler> found;
  for (std::size_t rank = 0; rank < seconds.size(); ++rank) {
    std::vector<double> others;
    for (std::size_t other = 0; other < seconds.size(); ++other) {
      if (other != rank && stages[other] == stages[rank]) others.push_back(seconds[other]);
    }
    if (others.empty()) continue;
    const double usual = median(std::move(others));
    if (seconds[rank] > (1 + excess_told) * usual) found.push_back({static_cast<int>(rank), seconds[rank], usual});
  }
  std::ranges::sort(found, std::greater<>(), [](const Straggler& s) { return s.seconds - s.others; });
  return found;
}

void StragglerWatch::add(double seconds) {
  seconds_ += seconds;
  ++steps_;
}

void StragglerWatch::report() {
  Communicator& world = grid_.world();
  if (steps_ == 0 || grid_.shape().data == 1) return;
  const Tensor all = Tensor::empty({2 * world.size()}, DType::f64);
  const double stage = grid_.place().stage;
  world.all_gather(Tensor::from(std::vector<double>{seconds_ / steps_, stage}, {2}), all);
  seconds_ = 0;
  steps_ = 0;
  const std::vector<double> values = all.to_vector<double>();
  std::vector<double> seconds;
  std::vector<int> stages;
  for (std::size_t rank = 0; 2 * rank < values.size(); ++rank) {
    seconds.push_back(values[2 * rank]);
    stages.push_back(static_cast<int>(values[2 * rank + 1]));
  }
  for (const Straggler& slow : find_stragglers(seconds, stages)) {
    const StatusBoard* board = status_board();
    log::info("straggler: rank {}{} works {:.3f} s a step, {:.0f} % longer than the others of its stage ({:.3f} s)",
              slow.rank, board ? " on " + board->host_of(slow.rank) : "", slow.seconds,
              100 * (slow.seconds / slow.others - 1), slow.others);
  }
}

}  // namespace skymm
