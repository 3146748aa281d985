#include "parallel/pipeline/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "core/error.hpp"
#include "parallel/pipeline/simulation.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using Kind = Instruction::Kind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ScheduleKind all_kinds[] = {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::interleaved,
                                      ScheduleKind::zero_bubble};

// All shapes of 1 to 16 stages, 1 to 64 micro-batches and the chunks that the kind knows.
template <class Body>
void for_all_shapes(ScheduleKind kind, const Body& body) {
  const int most_chunks = kind == ScheduleKind::interleaved ? 4 : 1;
  for (int stages = 1; stages <= 16; ++stages) {
    for (int chunks = 1; chunks <= most_chunks; ++chunks) {
      for (int micro_batches = 1; micro_batches <= 64; ++micro_batches) {
        body(PipelineShape{stages, micro_batches, chunks});
        if (::testing::Test::HasFailure()) {
          FAIL() << name_of(kind) << ": " << stages << " stages, " << micro_batches << " micro-batches, " << chunks
                 << " chunks";
        }
      }
    }
  }
}

// Costs of a whole stage's forward, backward (input and weights) and weight gradients, in equal chunks.
std::vector<PieceCost> even_costs(const PipelineShape& shape, double forward, double backward, double weight) {
  const double v = shape.chunks;
  return std::vector<PieceCost>(static_cast<std::size_t>(shape.pieces()), {forward / v, backward / v, weight / v, 0});
}

bool splits(ScheduleKind kind) { return kind == ScheduleKind::zero_bubble; }

// How often each kind of instruction occurs for a chunk, in ascending order of micro-batches or not at all.
void expect_complete(const Schedule& schedule) {
  const auto [stages, micro_batches, chunks] = schedule.shape;
  std::vector<int> done(10 * static_cast<std::size_t>(chunks));
  for (int stage = 0; stage < stages; ++stage) {
    std::ranges::fill(done, 0);
    const auto count = [&](Kind kind, int chunk) -> int& {
      return done[static_cast<std::size_t>(kind) * static_cast<std::size_t>(chunks) + static_cast<std::size_t>(chunk)];
    };
    for (const Instruction& instruction : schedule.stages[static_cast<std::size_t>(stage)]) {
      int& n = count(instruction.kind, instruction.chunk);
      ASSERT_EQ(instruction.micro_batch, n) << name_of(instruction.kind);
      ++n;
    }
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int piece = schedule.shape.piece(stage, chunk);
      const int from_before = stages > 1 && piece > 0 ? micro_batches : 0;
      const int to_next = stages > 1 && piece + 1 < schedule.shape.pieces() ? micro_batches : 0;
      ASSERT_EQ(count(Kind::forward, chunk), micro_batches);
      ASSERT_EQ(count(Kind::backward, chunk), micro_batches);
      ASSERT_EQ(count(Kind::weight_gradient, chunk), splits(schedule.kind) ? micro_batches : 0);
      ASSERT_EQ(count(Kind::receive_activation, chunk), from_before);
      ASSERT_EQ(count(Kind::send_gradient, chunk), from_before);
      ASSERT_EQ(count(Kind::send_activation, chunk), to_next);
      ASSERT_EQ(count(Kind::receive_gradient, chunk), to_next);
    }
  }
}

// The n-th send of a kind from one stage to another is of the same tensor as the n-th receive.
void expect_messages_in_order(const Schedule& schedule) {
  const PipelineShape& shape = schedule.shape;
  // By boundary (the piece before it) and micro-batch, in the order of each end.
  using Tensors = std::vector<std::pair<int, int>>;
  const auto count = static_cast<std::size_t>(shape.stages);
  std::vector<Tensors> sent(2 * count), received(2 * count);
  for (std::size_t s = 0; s < count; ++s) {
    // Activations go round the ring of stages one way and gradients the other, so the receiver tells the sender.
    const std::size_t next = (s + 1) % count;
    for (const Instruction& i : schedule.stages[s]) {
      const int piece = shape.piece(static_cast<int>(s), i.chunk);
      if (i.kind == Kind::send_activation) sent[next].emplace_back(piece, i.micro_batch);
      if (i.kind == Kind::receive_activation) received[s].emplace_back(piece - 1, i.micro_batch);
      if (i.kind == Kind::send_gradient) sent[count + s].emplace_back(piece - 1, i.micro_batch);
      if (i.kind == Kind::receive_gradient) received[count + next].emplace_back(piece, i.micro_batch);
    }
  }
  ASSERT_EQ(sent, received);
}

int live_bound(ScheduleKind kind, const PipelineShape& shape, int stage) {
  const auto [p, m, v] = shape;
  switch (kind) {
    case ScheduleKind::gpipe:
      return m;
    case ScheduleKind::one_f_one_b:
      return std::min(m, p - stage);
    case ScheduleKind::interleaved:
      return v == 1 ? std::min(m, p - stage) : std::min(m * v, 2 * (p - 1 - stage) + (v - 1) * p + 1);
    case ScheduleKind::zero_bubble:
      return std::min(m, p);
  }
  return 0;
}

class Schedules : public ::testing::TestWithParam<ScheduleKind> {};

TEST_P(Schedules, AreCompleteKeepTheirOrderAndBoundWhatIsAlive) {
  for_all_shapes(GetParam(), [&](const PipelineShape& shape) {
    const Schedule schedule = make_schedule(GetParam(), shape);
    expect_complete(schedule);
    expect_messages_in_order(schedule);
    for (int stage = 0; stage < shape.stages; ++stage) {
      const int live = live_activations(schedule, stage), bound = live_bound(GetParam(), shape, stage);
      // Where p does not divide m, interleaved may stay below.
      if (shape.chunks > 1 && shape.micro_batches % shape.stages != 0) {
        ASSERT_LE(live, bound);
      } else {
        ASSERT_EQ(live, bound);
      }
    }
  });
}

TEST(ForwardSchedule, RunsEveryPieceOnceInAnOrderThatNeverWaitsForEver) {
  for_all_shapes(ScheduleKind::interleaved, [](const PipelineShape& shape) {
    const Schedule schedule = make_forward_schedule(shape);
    expect_messages_in_order(schedule);
    for (const auto& list : schedule.stages) {
      ASSERT_EQ(std::ranges::count(list, Kind::forward, &Instruction::kind), shape.chunks * shape.micro_batches);
      ASSERT_EQ(std::ranges::count(list, Kind::backward, &Instruction::kind), 0);
    }
    const int whole_groups = (shape.micro_batches + shape.stages - 1) / shape.stages * shape.stages;
    const Timeline timeline = simulate(schedule, even_costs(shape, 1, 0, 0));
    ASSERT_LE(timeline.length, (shape.chunks > 1 ? whole_groups : shape.micro_batches) + shape.stages - 1 + 1e-9);
  });
}

// simulate() refuses a computation that comes before its input, and a deadlock.
TEST_P(Schedules, IdleAsLongAsTheFormulaSays) {
  struct Cost {
    double forward, backward, weight;
  };
  // The third has the largest weight gradients that zero-bubble's formula allows: as long as the forward.
  for (const Cost cost : {Cost{1, 2, 1}, Cost{3, 5, 1}, Cost{2, 6, 2}, Cost{2, 1, 0}}) {
    const bool everything = cost.backward == 2;
    for_all_shapes(GetParam(), [&](const PipelineShape& shape) {
      const auto [p, m, v] = shape;
      if (!everything && (p > 8 || m > 24)) return;
      const double both = cost.forward + cost.backward;
      const double formula =
          splits(GetParam()) ? (p - 1) * (both - cost.weight) - (std::min(m, p) - 1) * cost.weight : (p - 1) * both / v;
      const double bubble =
          simulate(make_schedule(GetParam(), shape), even_costs(shape, cost.forward, cost.backward, cost.weight))
              .bubble();
      if (v == 1 || m % p == 0) {
        ASSERT_NEAR(bubble, formula, 1e-9);
      } else {  // no longer than with m rounded up
        const int missing = p - m % p;
        ASSERT_LE(bubble, formula + missing * both + 1e-9);
        ASSERT_GE(bubble, formula - 1e-9);
      }
    });
  }
}

TEST_P(Schedules, MeetInZeroCollectivesAroundEachUse) {
  for (const PipelineShape shape :
       {PipelineShape{1, 3}, PipelineShape{4, 8}, PipelineShape{3, 7}, PipelineShape{4, 8, 3}}) {
    if (shape.chunks > 1 && GetParam() != ScheduleKind::interleaved) continue;
    const Schedule plain = make_schedule(GetParam(), shape);
    for (int zero_stage = 0; zero_stage <= 3; ++zero_stage) {
      Schedule schedule = plain;
      add_zero(schedule, zero_stage);
      for (std::size_t s = 0; s < schedule.stages.size(); ++s) {
        std::vector<Instruction> rest;
        std::vector<bool> whole(static_cast<std::size_t>(shape.chunks), zero_stage < 3);
        std::vector<int> worked(whole.size()), reduced(whole.size());
        for (const Instruction& i : schedule.stages[s]) {
          const auto chunk = static_cast<std::size_t>(i.chunk);
          if (i.kind == Kind::gather_weights || i.kind == Kind::release_weights) {
            EXPECT_EQ(zero_stage, 3);
            EXPECT_NE(whole[chunk], i.kind == Kind::gather_weights);
            whole[chunk] = i.kind == Kind::gather_weights;
            EXPECT_LE(std::ranges::count(whole, true), 2);
          } else if (i.kind == Kind::reduce_gradients) {
            EXPECT_EQ(i.micro_batch, zero_stage < 2 ? shape.micro_batches - 1 : reduced[chunk]);
            EXPECT_EQ(i.micro_batch + 1, worked[chunk]);  // after the work, and before the next
            ++reduced[chunk];
          } else {
            rest.push_back(i);
            EXPECT_TRUE(whole[chunk] || !computes(i.kind));
            worked[chunk] += i.kind == (splits(GetParam()) ? Kind::weight_gradient : Kind::backward) ? 1 : 0;
          }
        }
        EXPECT_EQ(rest, plain.stages[s]);  // nothing else changed
        EXPECT_EQ(std::ranges::count(whole, true), zero_stage < 3 ? shape.chunks : 0);
        EXPECT_EQ(std::accumulate(reduced.begin(), reduced.end(), 0),
                  (zero_stage < 2 ? 1 : shape.micro_batches) * shape.chunks);
      }
      simulate(schedule, even_costs(shape, 1, 2, 1));
    }
  }
}

TEST_P(Schedules, WaitForASlowPiece) {
  const PipelineShape shape = {4, 16, GetParam() == ScheduleKind::interleaved ? 2 : 1};
  const Schedule schedule = make_schedule(GetParam(), shape);
  std::vector<PieceCost> costs = even_costs(shape, 1, 2, 0.5), slow = even_costs(shape, 3, 6, 1.5);
  const double even = simulate(schedule, costs).length;
  costs[2] = slow[2];  // such as the piece with the resampler
  for (PieceCost& cost : costs) cost.send = 0.125;
  for (PieceCost& cost : slow) cost.send = 0.125;
  const Timeline timeline = simulate(schedule, costs);
  EXPECT_GT(timeline.length, even);
  EXPECT_LT(timeline.length, simulate(schedule, slow).length);
  EXPECT_GE(timeline.busy(2), 16 * (costs[2].forward + costs[2].backward));
  EXPECT_DOUBLE_EQ(timeline.bubble(), timeline.length - timeline.busy(2));
  EXPECT_GE(timeline.bubble(), 2 * (costs[0].forward + 0.125));  // at least until the first activation is there
}

INSTANTIATE_TEST_SUITE_P(Each, Schedules, ::testing::ValuesIn(all_kinds), [](const auto& info) {
  std::string name(name_of(info.param));
  std::erase(name, '-');
  return name;
});

// Blocking sends: gpipe and 1f1b promise to stand them.
TEST(Schedule, NeighboursNeverBothWaitToSend) {
  for (const ScheduleKind kind : {ScheduleKind::gpipe, ScheduleKind::one_f_one_b}) {
    for_all_shapes(kind, [&](const PipelineShape& shape) {
      EXPECT_NO_THROW(simulate(make_schedule(kind, shape), even_costs(shape, 1, 2, 0), true));
    });
  }
}

// Interleaved runs far enough ahead: messages lengthen the bubble once a step. With 1f1b each micro-batch waits for
// them.
TEST(Schedule, InterleavedHidesTheTimeOfMessages) {
  const auto bubble = [](ScheduleKind kind, int micro_batches, int chunks) {
    const PipelineShape shape = {4, micro_batches, chunks};
    std::vector<PieceCost> costs = even_costs(shape, 1, 1, 0);
    for (PieceCost& cost : costs) cost.send = 0.125;
    return simulate(make_schedule(kind, shape), costs).bubble();
  };
  EXPECT_DOUBLE_EQ(bubble(ScheduleKind::interleaved, 64, 2), bubble(ScheduleKind::interleaved, 8, 2));
  EXPECT_GT(bubble(ScheduleKind::one_f_one_b, 64, 1), 2 * bubble(ScheduleKind::one_f_one_b, 8, 1));
}

// Written out by hand, after the pictures of the papers.
TEST(Schedule, ListsAreThoseOfThePapers) {
  const auto computations = [](const Schedule& schedule, std::size_t stage) {
    std::string text;
    for (const Instruction& i : schedule.stages[stage]) {
      if (!computes(i.kind)) continue;
      const char* letter = i.kind == Kind::forward ? "F" : i.kind == Kind::backward ? "B" : "W";
      const std::string chunk = schedule.shape.chunks > 1 ? std::string(1, static_cast<char>('a' + i.chunk)) : "";
      text += fmt::format("{}{}{}{}", text.empty() ? "" : " ", letter, i.micro_batch, chunk);
    }
    return text;
  };
  const Schedule gpipe = make_schedule(ScheduleKind::gpipe, {2, 3});
  EXPECT_EQ(computations(gpipe, 0), "F0 F1 F2 B0 B1 B2");
  const Schedule one = make_schedule(ScheduleKind::one_f_one_b, {3, 4});
  EXPECT_EQ(computations(one, 0), "F0 F1 F2 B0 F3 B1 B2 B3");
  EXPECT_EQ(computations(one, 1), "F0 F1 B0 F2 B1 F3 B2 B3");
  EXPECT_EQ(computations(one, 2), "F0 B0 F1 B1 F2 B2 F3 B3");
  const Schedule zero = make_schedule(ScheduleKind::zero_bubble, {3, 4});
  EXPECT_EQ(computations(zero, 0), "F0 F1 F2 B0 W0 F3 B1 W1 B2 W2 B3 W3");
  EXPECT_EQ(computations(zero, 2), "F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 W2 W3");
  const Schedule interleaved = make_schedule(ScheduleKind::interleaved, {2, 4, 2});
  EXPECT_EQ(computations(interleaved, 0), "F0a F1a F0b F1b F2a B0b F3a B1b F2b B0a F3b B1a B2b B3b B2a B3a");
  EXPECT_EQ(computations(interleaved, 1), "F0a F1a F0b B0b F1b B1b F2a B0a F3a B1a F2b B2b F3b B3b B2a B3a");
}

TEST(Schedule, MessagesStandAroundTheirComputation) {
  const Schedule schedule = make_schedule(ScheduleKind::one_f_one_b, {2, 2});
  EXPECT_THAT(schedule.stages[1],
              ElementsAre(Instruction{Kind::receive_activation, 0, 0}, Instruction{Kind::forward, 0, 0},
                          Instruction{Kind::backward, 0, 0}, Instruction{Kind::receive_activation, 0, 1},
                          Instruction{Kind::send_gradient, 0, 0}, Instruction{Kind::forward, 0, 1},
                          Instruction{Kind::backward, 0, 1}, Instruction{Kind::send_gradient, 0, 1}));
}

TEST(Schedule, RefusesShapesAndNamesThatItDoesNotKnow) {
  using skymm::testing::error_of;
  EXPECT_THAT(error_of([] { make_schedule(ScheduleKind::gpipe, {0, 1}); }), HasSubstr("0 stages"));
  EXPECT_THAT(error_of([] {
                make_schedule(ScheduleKind::one_f_one_b, {2, 4, 2});
              }),
              HasSubstr("schedule 1f1b has one chunk a stage, not 2"));
  EXPECT_THAT(error_of([] { parse_schedule("zerobubble"); }), HasSubstr("gpipe, 1f1b, interleaved, zero-bubble"));
  for (const ScheduleKind kind : all_kinds) EXPECT_EQ(parse_schedule(name_of(kind)), kind);
  Schedule schedule = make_schedule(ScheduleKind::gpipe, {2, 2});
  EXPECT_THAT(error_of([&] { add_zero(schedule, 4); }), HasSubstr("no ZeRO stage 4"));
  add_zero(schedule, 2);
  EXPECT_THAT(error_of([&] { add_zero(schedule, 2); }), HasSubstr("already"));
}

class Simulation : public ::testing::Test {
 protected:
  Schedule schedule_ = make_schedule(ScheduleKind::one_f_one_b, {2, 2});
  std::vector<PieceCost> costs_{2};

  std::string error() const {
    return skymm::testing::error_of([&] { simulate(schedule_, costs_); });
  }
};

TEST_F(Simulation, MessagesTakeTheirTime) {
  costs_[0].send = 0.5;  // of the one boundary, both ways
  EXPECT_DOUBLE_EQ(simulate(make_schedule(ScheduleKind::one_f_one_b, {2, 1}), costs_).length, 5);
  EXPECT_DOUBLE_EQ(simulate(make_schedule(ScheduleKind::one_f_one_b, {2, 1}), costs_, true).length, 5);
  const Timeline timeline = simulate(schedule_, costs_);
  EXPECT_DOUBLE_EQ(timeline.stages[1][0].end, 1.5);  // receive activation 0
  EXPECT_DOUBLE_EQ(timeline.busy(0), 4);
}

TEST_F(Simulation, NamesWhoWaitsForWhom) {
  std::swap(schedule_.stages[0][0], schedule_.stages[0][1]);
  EXPECT_THAT(error(), HasSubstr("stage 0: send activation of chunk 0, micro-batch 0 comes before forward"));
  std::swap(schedule_.stages[0][0], schedule_.stages[0][1]);
  // Stage 1 waits for micro-batch 1, which stage 0 sends only after the gradient of 0.
  std::swap(schedule_.stages[0][2], schedule_.stages[0][4]);
  std::swap(schedule_.stages[0][3], schedule_.stages[0][5]);
  schedule_.stages[1] = make_schedule(ScheduleKind::gpipe, {2, 2}).stages[1];
  EXPECT_THAT(error(), AllOf(HasSubstr("deadlocks"), HasSubstr("stage 0: receive gradient of chunk 0, micro-batch 0"),
                             HasSubstr("stage 1: receive activation of chunk 0, micro-batch 1")));
}

TEST_F(Simulation, RefusesWhatIsNotWhole) {
  schedule_.stages[0].push_back({Kind::forward, 0, 1});
  EXPECT_THAT(error(), HasSubstr("stage 0: forward of chunk 0, micro-batch 1 comes twice"));
  schedule_.stages[0].back() = {Kind::forward, 1, 0};
  EXPECT_THAT(error(), HasSubstr("there are 1 chunks"));
  schedule_.stages[0].back() = {Kind::send_gradient, 0, 0};
  EXPECT_THAT(error(), HasSubstr("no other stage is at that end"));
  schedule_.stages[0].pop_back();
  std::erase(schedule_.stages[0], Instruction{Kind::receive_gradient, 0, 1});
  EXPECT_THAT(error(), HasSubstr("stage 0: backward of chunk 0, micro-batch 1 comes before receive gradient"));
  std::erase(schedule_.stages[0], Instruction{Kind::backward, 0, 1});
  EXPECT_THAT(error(), HasSubstr("nobody receives it"));
  costs_.pop_back();
  EXPECT_THAT(error(), HasSubstr("costs of 2 pieces, not of 1"));
  costs_ = {{}, {.backward = 1, .weight = 2}};
  EXPECT_THAT(error(), HasSubstr("weight more than backward"));
}

}  // namespace
}  // namespace skymm
