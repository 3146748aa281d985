#include "parallel/hang_report.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace skymm {
namespace {

using State = RankStatus::State;

std::string describe(const Call& call, const RankStatus& status) {
  return fmt::format("{} of {}", call.str(), status.communicator.data());
}

bool silent(const RankView& view) {
  return view.status.state != State::finished &&
         (view.gone() || view.process == 'T' || view.silent > silence_of_the_stopped);
}

const char* reason(const RankView& view) {
  if (view.gone()) return "its process is gone";
  if (view.process == 'T') return "stopped by a signal";
  if (view.process == 't') return "stopped by a debugger";
  if (view.process == 'D') return "in the kernel: a disk or a network file system";
  return "stopped, or starved of processor time";
}

const RankView* find(const std::vector<RankView>& views, int rank) {
  const auto view = std::find_if(views.begin(), views.end(), [&](const RankView& v) { return v.rank == rank; });
  return view == views.end() ? nullptr : &*view;
}

}  // namespace

std::string describe(const RankView& view, double now) {
  const RankStatus& status = view.status;
  const std::string last =
      status.called ? fmt::format("its last call was {}", describe(status.call, status)) : "it has called nothing yet";
  const std::string where = status.state == State::waiting ? fmt::format("in {}", describe(status.call, status)) : last;
  if (silent(view)) {
    return fmt::format("gives no sign of life for {:.0f} s ({}); {}", view.silent, reason(view), where);
  }
  if (status.state == State::finished) return fmt::format("has ended its work; {}", last);
  if (status.state == State::computing) {
    return fmt::format("is in no call of a communicator for {:.0f} s; {}", now - status.since, last);
  }
  const std::string whom = status.waits_for < 0 ? "" : fmt::format(" for rank {}", status.waits_for);
  return fmt::format("waits {}{}, for {:.0f} s", where, whom, now - status.since);
}

std::string describe_hang(int rank, const std::vector<RankView>& views, double now,
                          const std::function<std::string(int rank)>& host_of) {
  std::string text;
  for (const RankView& view : views) text += fmt::format("  rank {} {}\n", view.rank, describe(view, now));

  std::vector<int> chain;
  const RankView *at = find(views, rank), *before = nullptr;
  while (at != nullptr && at->status.state == State::waiting && !silent(*at)) {
    const int next = at->status.waits_for;
    if (next < 0) return text;
    chain.push_back(at->rank);
    if (const auto cycle = std::find(chain.begin(), chain.end(), next); cycle != chain.end()) {
      return text + fmt::format("deadlock: ranks {} wait for each other", fmt::join(cycle, chain.end(), ", "));
    }
    before = at;
    at = find(views, next);
    if (at == nullptr) {
      return text + fmt::format("rank {} waits for rank {} on host {}, whose ranks cannot be seen from here",
                                before->rank, next, host_of(next));
    }
  }
  if (at == nullptr) return text;
  text += fmt::format("rank {} holds the others up", at->rank);
  if (before == nullptr) return text;
  return text +
         fmt::format(": rank {} waits for it in {}", before->rank, describe(before->status.call, before->status));
}

}  // namespace skymm
