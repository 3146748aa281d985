#include "parallel/collective_check.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>

#include "core/error.hpp"

namespace skymm {
namespace {

std::atomic<bool> checks{false};

struct Group {  // ranks that called the same
  Call call;
  std::vector<int> ranks;

  std::string str() const {
    return fmt::format("{} {} called {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "), call.str());
  }
};

}  // namespace

void set_check_collectives(bool on) { checks = on; }
bool check_collectives() { return checks; }

void check_agreement(const std::string& communicator, const std::vector<Call>& calls) {
  std::vector<Group> groups;
  for (std::size_t r = 0; r < calls.size(); ++r) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.call == calls[r]; });
    if (group == groups.end()) group = groups.insert(groups.end(), {calls[r], {}});
    group->ranks.push_back(static_cast<int>(r));
  }
  if (groups.size() < 2) return;
  const auto largest = std::max_element(groups.begin(), groups.end(),
                                        [](const Group& a, const Group& b) { return a.ranks.size() < b.ranks.size(); });
  std::vector<std::string> others;
  for (const Group& group : groups) {
    if (&group != &*largest) others.push_back(group.str());
  }
  fail("the ranks of {} disagree on what to call: {}, but {}; all must call the same collectives in the same order",
       communicator, fmt::join(others, "; "), largest->str());
}

}  // namespace skymm
