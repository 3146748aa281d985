#include "parallel/pipeline/schedule.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

using Kind = Instruction::Kind;
using List = std::vector<Instruction>;

// All kinds are one loop (see computations): they differ in these numbers alone.
struct Pace {
  int ahead = 0;  // forwards that a stage runs before its first pair of a forward and a backward
  int group = 1;  // micro-batches that pass a chunk before the next chunk takes its turn
  int lag = -1;   // backwards between a micro-batch's backward and its weight gradients; -1: these are not split off
};

Pace pace_of(ScheduleKind kind, const PipelineShape& shape, int stage) {
  const int below = shape.stages - 1 - stage;  // stages between this one and the last, which it keeps supplied
  switch (kind) {
    case ScheduleKind::gpipe:
      return {.ahead = shape.micro_batches};
    case ScheduleKind::one_f_one_b:
      return {.ahead = below};
    case ScheduleKind::interleaved:
      if (shape.chunks == 1) return {.ahead = below};
      // Once `below` would do if messages took no time. Twice gives each round trip to the next stage the slack of one
      // more forward and backward.
      return {.ahead = 2 * below + (shape.chunks - 1) * shape.stages, .group = shape.stages};
    case ScheduleKind::zero_bubble:
      // Late stages have few micro-batches alive. They may keep as many as stage 0 does, and put off weight gradients
      // until nothing else is left to do.
      return {.ahead = below, .lag = stage};
  }
  fail("there is no schedule of kind {}", static_cast<int>(kind));
}

// What a stage computes, in its order.
List computations(ScheduleKind kind, const PipelineShape& shape, int stage) {
  const Pace pace = pace_of(kind, shape, stage);
  const int turn = pace.group * shape.chunks;
  // The last group is filled up with micro-batches that do not exist; they are left out again.
  const int turns = (shape.micro_batches + pace.group - 1) / pace.group * turn;
  List list;
  const auto add = [&](Kind what, int n) {
    if (n < 0 || n >= turns) return;
    const int chunk = n % turn / pace.group;
    const int micro_batch = n / turn * pace.group + n % pace.group;
    if (micro_batch >= shape.micro_batches) return;
    list.push_back({what, what == Kind::forward ? chunk : shape.chunks - 1 - chunk, micro_batch});
  };
  for (int n = 0; n < turns + pace.ahead + std::max(pace.lag, 0); ++n) {
    add(Kind::forward, n);
    add(Kind::backward, n - pace.ahead);
    if (pace.lag >= 0) add(Kind::weight_gradient, n - pace.ahead - pace.lag);
  }
  return list;
}

// Sends right after the computation whose result they move, receives right before the one that needs it.
List with_messages(const PipelineShape& shape, int stage, const List& computations) {
  if (shape.stages == 1) return computations;
  List list;
  for (const auto [kind, chunk, micro_batch] : computations) {
    const int piece = shape.piece(stage, chunk);
    const bool first = piece == 0, last = piece + 1 == shape.pieces();
    if (kind == Kind::forward && !first) {
      const Instruction receive = {Kind::receive_activation, chunk, micro_batch};
      // Two neighbours would wait for each other where sends block: this stage sends a gradient, the one before it an
      // activation. So activations go first.
      const bool crossing = !list.empty() && list.back().kind == Kind::send_gradient;
      list.insert(list.end() - (crossing ? 1 : 0), receive);
    }
    if (kind == Kind::backward && !last) list.push_back({Kind::receive_gradient, chunk, micro_batch});
    list.push_back({kind, chunk, micro_batch});
    if (kind == Kind::forward && !last) list.push_back({Kind::send_activation, chunk, micro_batch});
    if (kind == Kind::backward && !first) list.push_back({Kind::send_gradient, chunk, micro_batch});
  }
  return list;
}

bool splits_gradients(const List& list) {
  return std::ranges::any_of(list, [](const Instruction& i) { return i.kind == Kind::weight_gradient; });
}

// What a stage with these computations and messages does with ZeRO.
List with_collectives(const List& list, int zero_stage, int micro_batches) {
  const bool split = splits_gradients(list);
  const auto next_computation = [&](std::size_t from) {
    const auto begin = list.begin() + static_cast<std::ptrdiff_t>(from);
    return std::find_if(begin, list.end(), [](const Instruction& i) { return computes(i.kind); });
  };
  List result;
  const auto gather = [&](const Instruction& use) {
    if (zero_stage == 3) result.push_back({Kind::gather_weights, use.chunk, use.micro_batch});
  };
  List reductions;  // that wait until the messages after their gradient work are on their way
  const auto reduce = [&] {
    result.insert(result.end(), reductions.begin(), reductions.end());
    reductions.clear();
  };
  if (const auto first = next_computation(0); first != list.end()) gather(*first);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Instruction& instruction = list[i];
    if (!computes(instruction.kind)) {
      result.push_back(instruction);
      continue;
    }
    reduce();
    const auto next = next_computation(i + 1);
    const bool another = next != list.end() && next->chunk != instruction.chunk;
    if (another) gather(*next);
    result.push_back(instruction);
    if (zero_stage == 3 && (another || next == list.end())) {
      result.push_back({Kind::release_weights, instruction.chunk, instruction.micro_batch});
    }
    const bool complete = zero_stage >= 2 || instruction.micro_batch + 1 == micro_batches;
    if (complete && instruction.kind == (split ? Kind::weight_gradient : Kind::backward)) {
      reductions.push_back({Kind::reduce_gradients, instruction.chunk, instruction.micro_batch});
    }
  }
  reduce();
  return result;
}

constexpr std::array kinds = {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved,
                              ScheduleKind::zero_bubble};

}  // namespace

bool computes(Instruction::Kind kind) {
  return kind == Kind::forward || kind == Kind::backward || kind == Kind::weight_gradient;
}

Schedule make_schedule(ScheduleKind kind, const PipelineShape& shape) {
  check(shape.stages >= 1 && shape.micro_batches >= 1 && shape.chunks >= 1,
        "a pipeline of {} stages, {} micro-batches and {} chunks a stage: each must be at least 1", shape.stages,
        shape.micro_batches, shape.chunks);
  constexpr std::int64_t most = 100'000'000;
  const std::int64_t cells = std::int64_t{shape.stages} * shape.chunks;
  check(cells <= most && cells * shape.micro_batches <= most,
        "{} micro-batches through {} stages of {} chunks: a schedule of more than {} forwards is surely a mistake",
        shape.micro_batches, shape.stages, shape.chunks, most);
  check(shape.chunks == 1 || kind == ScheduleKind::interleaved,
        "schedule {} has one chunk a stage, not {}; take 1, or the schedule interleaved", name_of(kind), shape.chunks);
  std::vector<List> lists;
  for (int stage = 0; stage < shape.stages; ++stage) {
    lists.push_back(with_messages(shape, stage, computations(kind, shape, stage)));
  }
  return {kind, shape, std::move(lists)};
}

Schedule make_forward_schedule(const PipelineShape& shape) {
  const ScheduleKind kind = shape.chunks > 1 ? ScheduleKind::interleaved : ScheduleKind::one_f_one_b;
  std::vector<List> lists;
  for (int stage = 0; stage < shape.stages; ++stage) {
    List list = computations(kind, shape, stage);
    std::erase_if(list, [](const Instruction& i) { return i.kind != Kind::forward; });
    lists.push_back(with_messages(shape, stage, list));
  }
  return {kind, shape, std::move(lists)};
}

void add_zero(Schedule& schedule, int zero_stage) {
  check(zero_stage >= 0 && zero_stage <= 3, "there is no ZeRO stage {}: 0, 1, 2 or 3", zero_stage);
  for (const List& list : schedule.stages) {
    const bool again = std::ranges::any_of(list, [](const Instruction& i) { return i.kind >= Kind::gather_weights; });
    check(!again, "this schedule has the collectives of ZeRO already");
  }
  for (List& list : schedule.stages) list = with_collectives(list, zero_stage, schedule.shape.micro_batches);
}

bool splits_weight_gradients(const Schedule& schedule) {
  return std::ranges::any_of(schedule.stages, splits_gradients);
}

int live_activations(const Schedule& schedule, int stage) {
  const List& list = schedule.stages.at(static_cast<std::size_t>(stage));
  const Kind last = splits_gradients(list) ? Kind::weight_gradient : Kind::backward;
  int live = 0, most = 0;
  for (const Instruction& instruction : list) {
    live += (instruction.kind == Kind::forward ? 1 : 0) - (instruction.kind == last ? 1 : 0);
    most = std::max(most, live);
  }
  return most;
}

std::string_view name_of(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::gpipe:
      return "gpipe";
    case ScheduleKind::one_f_one_b:
      return "1f1b";
    case ScheduleKind::interleaved:
      return "interleaved";
    case ScheduleKind::zero_bubble:
      return "zero-bubble";
  }
  return "unknown schedule";
}

ScheduleKind parse_schedule(std::string_view name) {
  std::string known;
  for (const ScheduleKind kind : kinds) {
    if (name == name_of(kind)) return kind;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name_of(kind));
  }
  fail("there is no schedule '{}'; there are {}", name, known);
}

std::string_view name_of(Instruction::Kind kind) {
  switch (kind) {
    case Kind::receive_activation:
      return "receive activation";
    case Kind::forward:
      return "forward";
    case Kind::send_activation:
      return "send activation";
    case Kind::receive_gradient:
      return "receive gradient";
    case Kind::backward:
      return "backward";
    case Kind::weight_gradient:
      return "weight gradient";
    case Kind::send_gradient:
      return "send gradient";
    case Kind::gather_weights:
      return "gather weights";
    case Kind::release_weights:
      return "release weights";
    case Kind::reduce_gradients:
      return "reduce gradients";
  }
  return "unknown instruction";
}

}  // namespace skymm
