#include "core/communicator.hpp"

namespace skymm {

std::string_view name_of(CallKind kind) {
  constexpr std::array<std::string_view, call_kinds> names{
      "send", "recv", "broadcast", "all_reduce", "reduce_scatter", "all_gather", "all_to_all", "barrier", "split"};
  return names[static_cast<std::size_t>(kind)];
}

std::int64_t CommunicationCounts::bytes() const {
  std::int64_t bytes = 0;
  for (const OfKind& kind : kinds) bytes += kind.sent + kind.received;
  return bytes;
}

double CommunicationCounts::blocked() const {
  double seconds = 0;
  for (const OfKind& kind : kinds) seconds += kind.blocked;
  return seconds;
}

CommunicationCounts& CommunicationCounts::operator+=(const CommunicationCounts& other) {
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    kinds[i].calls += other.kinds[i].calls;
    kinds[i].sent += other.kinds[i].sent;
    kinds[i].received += other.kinds[i].received;
    kinds[i].blocked += other.kinds[i].blocked;
  }
  return *this;
}

CommunicationCounts CommunicationCounts::operator-(const CommunicationCounts& earlier) const {
  CommunicationCounts since = *this;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    since.kinds[i].calls -= earlier.kinds[i].calls;
    since.kinds[i].sent -= earlier.kinds[i].sent;
    since.kinds[i].received -= earlier.kinds[i].received;
    since.kinds[i].blocked -= earlier.kinds[i].blocked;
  }
  return since;
}

}  // namespace skymm
