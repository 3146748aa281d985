#include "parallel/pipeline/simulation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.hpp"

namespace skymm {
namespace {

using Kind = Instruction::Kind;

std::string described(int stage, const Instruction& instruction) {
  return fmt::format("stage {}: {} of chunk {}, micro-batch {}", stage, name_of(instruction.kind), instruction.chunk,
                     instruction.micro_batch);
}

// Walks through all lists at once, each as far as it can go. The order of the walk does not change the times: a stage
// waits for named messages only.
class Walk {
 public:
  Walk(const Schedule& schedule, const std::vector<PieceCost>& costs, bool rendezvous)
      : schedule_(schedule),
        shape_(schedule.shape),
        costs_(costs),
        rendezvous_(rendezvous),
        split_(splits_weight_gradients(schedule)),
        now_(schedule.stages.size(), 0.0),
        next_(schedule.stages.size(), 0) {
    check_input();
    Ends none;
    none.fill(not_yet);
    ends_.assign(static_cast<std::size_t>(shape_.pieces()) * static_cast<std::size_t>(shape_.micro_batches), none);
    timeline_.stages.resize(schedule.stages.size());
    for (std::size_t s = 0; s < schedule.stages.size(); ++s) timeline_.stages[s].reserve(schedule.stages[s].size());
  }

  Timeline run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int stage = 0; stage < shape_.stages; ++stage) {
        while (step(stage)) moved = true;
      }
    }
    check_finished();
    timeline_.length = *std::ranges::max_element(now_);
    return std::move(timeline_);
  }

 private:
  static constexpr double not_yet = std::numeric_limits<double>::infinity();
  using Ends = std::array<double, static_cast<std::size_t>(Kind::send_gradient) + 1>;  // by kind: when it was done

  void check_input() const {
    check(shape_.stages >= 1 && schedule_.stages.size() == static_cast<std::size_t>(shape_.stages),
          "a schedule of {} stages has {} lists of instructions", shape_.stages, schedule_.stages.size());
    check(costs_.size() == static_cast<std::size_t>(shape_.pieces()),
          "{} stages of {} chunks need the costs of {} pieces, not of {}", shape_.stages, shape_.chunks,
          shape_.pieces(), costs_.size());
    for (const PieceCost& cost : costs_) {
      const bool good = cost.forward >= 0 && cost.weight >= 0 && cost.backward >= cost.weight && cost.send >= 0 &&
                        std::isfinite(cost.forward + cost.backward + cost.send);
      check(good,
            "a piece costs forward {}, backward {} (weight {}), send {}: none may be negative, nor weight more "
            "than backward",
            cost.forward, cost.backward, cost.weight, cost.send);
    }
  }

  double& end(Kind kind, int piece, int micro_batch) {
    const auto cell = static_cast<std::size_t>(piece) * static_cast<std::size_t>(shape_.micro_batches) +
                      static_cast<std::size_t>(micro_batch);
    return ends_[cell][static_cast<std::size_t>(kind)];
  }

  const Instruction* next(int stage) const {
    const auto& list = schedule_.stages[static_cast<std::size_t>(stage)];
    const std::size_t at = next_[static_cast<std::size_t>(stage)];
    return at < list.size() ? &list[at] : nullptr;
  }

  void finish(int stage, double time) {
    const auto s = static_cast<std::size_t>(stage);
    const Instruction& instruction = *next(stage);
    timeline_.stages[s].push_back({instruction, now_[s], time});
    now_[s] = time;
    ++next_[s];
    if (instruction.kind > Kind::send_gradient) return;
    double& done = end(instruction.kind, shape_.piece(stage, instruction.chunk), instruction.micro_batch);
    if (done != not_yet) fail("{} comes twice", described(stage, instruction));
    done = time;
  }

  // What the stage itself must have done before; nothing where the instruction depends on no other.
  struct Need {
    Kind kind;
    int piece;
  };
  std::optional<Need> need_of(Kind kind, int piece) const {
    const bool alone = shape_.stages == 1;
    switch (kind) {
      case Kind::forward:
        if (piece == 0) return {};
        return alone ? Need{Kind::forward, piece - 1} : Need{Kind::receive_activation, piece};
      case Kind::backward:
        if (piece + 1 == shape_.pieces()) return {};
        return alone ? Need{Kind::backward, piece + 1} : Need{Kind::receive_gradient, piece};
      case Kind::send_activation:
        return Need{Kind::forward, piece};
      case Kind::weight_gradient:
      case Kind::send_gradient:
        return Need{Kind::backward, piece};
      default:
        return {};
    }
  }

  void check_needs(int stage, const Instruction& instruction, int piece) {
    const auto require = [&](Need need) {
      if (end(need.kind, need.piece, instruction.micro_batch) != not_yet) return;
      fail("{} comes before {} of the same micro-batch", described(stage, instruction), name_of(need.kind));
    };
    if (const std::optional<Need> need = need_of(instruction.kind, piece)) require(*need);
    if (instruction.kind == Kind::backward) require({Kind::forward, piece});
  }

  double duration(Kind kind, const PieceCost& cost) const {
    if (kind == Kind::forward) return cost.forward;
    if (kind == Kind::weight_gradient) return cost.weight;
    return kind == Kind::backward ? cost.backward - (split_ ? cost.weight : 0) : 0;
  }

  // Carries out a stage's next instruction. False where there is none, or where it must wait.
  bool step(int stage) {
    const Instruction* instruction = next(stage);
    if (instruction == nullptr) return false;
    const auto [kind, chunk, micro_batch] = *instruction;
    const bool known = chunk >= 0 && chunk < shape_.chunks && micro_batch >= 0 && micro_batch < shape_.micro_batches;
    if (!known) {
      fail("{}: there are {} chunks and {} micro-batches", described(stage, *instruction), shape_.chunks,
           shape_.micro_batches);
    }
    const int piece = shape_.piece(stage, chunk);
    check_needs(stage, *instruction, piece);
    const double now = now_[static_cast<std::size_t>(stage)];
    switch (kind) {
      case Kind::send_activation:
        return send(stage, {Kind::receive_activation, piece + 1}, piece, micro_batch);
      case Kind::send_gradient:
        return send(stage, {Kind::receive_gradient, piece - 1}, piece - 1, micro_batch);
      case Kind::receive_activation:
        return receive(stage, {Kind::send_activation, piece - 1}, piece - 1, micro_batch);
      case Kind::receive_gradient:
        return receive(stage, {Kind::send_gradient, piece + 1}, piece, micro_batch);
      default:
        finish(stage, now + duration(kind, costs_[static_cast<std::size_t>(piece)]));
        return true;
    }
  }

  // before: the piece that the activation leaves, whose gradient comes back to it.
  void check_message(int stage, int before) const {
    if (shape_.stages > 1 && before >= 0 && before + 1 < shape_.pieces()) return;
    fail("{}: no other stage is at that end of the piece", described(stage, *next(stage)));
  }

  bool send(int stage, Need other, int before, int micro_batch) {
    check_message(stage, before);
    const double now = now_[static_cast<std::size_t>(stage)];
    if (!rendezvous_) {
      finish(stage, now);
      return true;
    }
    const int to = shape_.stage_of(other.piece);
    const Instruction* meets = next(to);
    if (meets == nullptr || *meets != Instruction{other.kind, shape_.chunk_of(other.piece), micro_batch}) return false;
    const double time = std::max(now, now_[static_cast<std::size_t>(to)]) + cost_of_message(before);
    finish(stage, time);
    finish(to, time);
    return true;
  }

  bool receive(int stage, Need other, int before, int micro_batch) {
    check_message(stage, before);
    const double sent = end(other.kind, other.piece, micro_batch);
    if (rendezvous_ || sent == not_yet) return false;  // with rendezvous the sender moves both
    finish(stage, std::max(now_[static_cast<std::size_t>(stage)], sent + cost_of_message(before)));
    return true;
  }

  double cost_of_message(int before) const { return costs_[static_cast<std::size_t>(before)].send; }

  void check_finished() {
    std::string waiting;
    for (int stage = 0; stage < shape_.stages; ++stage) {
      const Instruction* instruction = next(stage);
      if (instruction != nullptr) waiting += fmt::format("\n  {}", described(stage, *instruction));
    }
    check(waiting.empty(), "the {} schedule deadlocks; these wait for each other, or for what never comes:{}",
          name_of(schedule_.kind), waiting);
    for (int piece = 0; piece + 1 < shape_.pieces(); ++piece) {
      for (int n = 0; n < shape_.micro_batches; ++n) {
        const auto lost = [&](Kind sent, int from, Kind received, int to) {
          return end(sent, from, n) != not_yet && end(received, to, n) == not_yet;
        };
        check(!lost(Kind::send_activation, piece, Kind::receive_activation, piece + 1) &&
                  !lost(Kind::send_gradient, piece + 1, Kind::receive_gradient, piece),
              "a message of micro-batch {} between pieces {} and {} is sent, and nobody receives it", n, piece,
              piece + 1);
      }
    }
  }

  const Schedule& schedule_;
  const PipelineShape& shape_;
  const std::vector<PieceCost>& costs_;
  const bool rendezvous_, split_;
  std::vector<double> now_;
  std::vector<std::size_t> next_;
  std::vector<Ends> ends_;  // by piece and micro-batch
  Timeline timeline_;
};

}  // namespace

double Timeline::busy(int stage) const {
  double sum = 0;
  for (const TimedInstruction& timed : stages.at(static_cast<std::size_t>(stage))) {
    if (computes(timed.instruction.kind)) sum += timed.end - timed.begin;
  }
  return sum;
}

double Timeline::bubble() const {
  double most = 0;
  for (std::size_t s = 0; s < stages.size(); ++s) most = std::max(most, busy(static_cast<int>(s)));
  return length - most;
}

Timeline simulate(const Schedule& schedule, const std::vector<PieceCost>& costs, bool rendezvous) {
  return Walk(schedule, costs, rendezvous).run();
}

}  // namespace skymm
