#include "launch/training/stragglers.hpp"

#include <algorithm>
#include <string>

#include "core/log.hpp"
#include "parallel/status_board.hpp"

namespace skymm {
namespace {

constexpr double excess_told = 0.2;        // of the others' time
constexpr double stage_excess_told = 0.5;  // of the time that its share of the work lets expect

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

std::string with_host(int rank) {
  const StatusBoard* board = status_board();
  return board != nullptr ? fmt::format("{} on {}", rank, board->host_of(rank)) : std::to_string(rank);
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

std::vector<Straggler> find_slow_stages(const std::vector<double>& seconds, const std::vector<double>& work) {
  std::vector<Straggler> found;
  for (std::size_t stage = 0; stage < seconds.size(); ++stage) {
    std::vector<double> others;  // seconds for each operation
    for (std::size_t other = 0; other < seconds.size(); ++other) {
      if (other != stage && work[other] > 0) others.push_back(seconds[other] / work[other]);
    }
    if (others.empty() || work[stage] <= 0) continue;
    const double expected = work[stage] * median(std::move(others));
    if (seconds[stage] > (1 + stage_excess_told) * expected) {
      found.push_back({static_cast<int>(stage), seconds[stage], expected});
    }
  }
  std::ranges::sort(found, std::greater<>(), [](const Straggler& s) { return s.seconds - s.others; });
  return found;
}

void StragglerWatch::add(double seconds, const StepCounts& counts) {
  seconds_ += seconds;
  const double lengths = counts_.mean_length * static_cast<double>(counts_.tokens) +
                         counts.mean_length * static_cast<double>(counts.tokens);
  counts_.tokens += counts.tokens;
  counts_.labels += counts.labels;
  counts_.images += counts.images;
  counts_.resampled += counts.resampled;
  counts_.mean_length = lengths / std::max(1.0, static_cast<double>(counts_.tokens));
  ++steps_;
}

void StragglerWatch::report() {
  Communicator& world = grid_.world();
  if (steps_ == 0 || world.size() == 1) return;
  const Tensor all = Tensor::empty({2 * world.size()}, DType::f64);
  const double stage = grid_.place().stage;
  world.all_gather(Tensor::from(std::vector<double>{seconds_ / steps_, stage}, {2}), all);
  const std::vector<double> values = all.to_vector<double>();
  std::vector<double> seconds;
  std::vector<int> stages;
  for (std::size_t rank = 0; 2 * rank < values.size(); ++rank) {
    seconds.push_back(values[2 * rank]);
    stages.push_back(static_cast<int>(values[2 * rank + 1]));
  }
  if (grid_.shape().data > 1) {
    compare_peers(seconds, stages);
  } else {
    compare_stages(seconds);
  }
  seconds_ = 0;
  counts_ = {};
  steps_ = 0;
}

void StragglerWatch::compare_peers(const std::vector<double>& seconds, const std::vector<int>& stages) const {
  for (const Straggler& slow : find_stragglers(seconds, stages)) {
    log::info("straggler: rank {} works {:.3f} s a step, {:.0f} % longer than the others of its stage ({:.3f} s)",
              with_host(slow.rank), slow.seconds, 100 * (slow.seconds / slow.others - 1), slow.others);
  }
}

void StragglerWatch::compare_stages(const std::vector<double>& seconds) {
  std::set<int> slow_now;
  for (const Straggler& slow : find_slow_stages(seconds, work_(counts_))) {
    slow_now.insert(slow.rank);
    if (told_.contains(slow.rank)) continue;
    log::info(
        "straggler: rank {} works {:.3f} s a step, {:.0f} % longer than its share of the work and the speed of the "
        "other stages let expect ({:.3f} s): its host is slow, or other parallel.cuts would be better",
        with_host(slow.rank), slow.seconds, 100 * (slow.seconds / slow.others - 1), slow.others);
  }
  told_ = std::move(slow_now);
}

}  // namespace skymm
