#include "parallel/ledger.hpp"

#include <algorithm>
#include <chrono>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace skymm {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<const Ledger*> living;
  CommunicationCounts gone;
};

// Never destroyed: communicators of static duration may outlive it otherwise.
Registry& registry() {
  static auto* const all = new Registry;
  return *all;
}

}  // namespace

std::string Call::str() const {
  std::string text = fmt::format("{} #{}", name_of(kind), number);
  if (kind == CallKind::send) text += fmt::format(" to rank {}", peer);
  if (kind == CallKind::recv || kind == CallKind::broadcast) text += fmt::format(" from rank {}", peer);
  if (tag != 0) text += fmt::format(" with tag {}", tag);
  if (kind != CallKind::barrier && kind != CallKind::split) text += fmt::format(" ({} x {})", name_of(dtype), count);
  return text;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Ledger::Ledger(std::string communicator) : communicator_(std::move(communicator)), ring_(kept) {
  const std::lock_guard lock(registry().mutex);
  registry().living.push_back(this);
}

Ledger::~Ledger() {
  const std::lock_guard lock(registry().mutex);
  std::erase(registry().living, this);
  registry().gone += counts_;
}

Call Ledger::begin(Call call) {
  const std::lock_guard lock(mutex_);
  call.number = call.collective() ? ++collectives_ : ++messages_;
  ring_[entries_++ % kept] = {call, steady_seconds(), false};
  ++counts_.of(call.kind).calls;
  return call;
}

void Ledger::complete(const Call& call, std::int64_t sent, std::int64_t received) {
  const std::lock_guard lock(mutex_);
  const auto entry = std::find_if(ring_.begin(), ring_.end(), [&](const Entry& e) { return e.call == call; });
  if (entry != ring_.end()) entry->complete = true;
  counts_.of(call.kind).sent += sent;
  counts_.of(call.kind).received += received;
}

void Ledger::blocked(CallKind kind, double seconds) {
  const std::lock_guard lock(mutex_);
  counts_.of(kind).blocked += seconds;
}

CommunicationCounts Ledger::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

std::string Ledger::str(std::size_t calls) const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (std::uint64_t i = entries_ - std::min<std::uint64_t>({entries_, kept, calls}); i < entries_; ++i) {
    const Entry& entry = ring_[i % kept];
    text += entry.call.str();
    text += entry.complete ? ", complete\n" : fmt::format(", begun {:.1f} s ago\n", steady_seconds() - entry.begun);
  }
  return text;
}

CommunicationCounts communication_counts() {
  const std::lock_guard lock(registry().mutex);
  CommunicationCounts all = registry().gone;
  for (const Ledger* ledger : registry().living) all += ledger->counts();
  return all;
}

std::string all_ledgers(std::size_t calls) {
  const std::lock_guard lock(registry().mutex);
  std::string text;
  for (const Ledger* ledger : registry().living) {
    text += fmt::format("{}:\n{}", ledger->communicator(), ledger->str(calls));
  }
  return text;
}

}  // namespace skymm
