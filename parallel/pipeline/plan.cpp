#include "parallel/pipeline/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.hpp"
#include "parallel/pipeline/simulation.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {
namespace {

constexpr double mib = 1024.0 * 1024.0;

double number(std::int64_t x) { return static_cast<double>(x); }

// Walks the list of a stage: what is alive, and the work at hand on top.
double activation_peak(const std::vector<BlockCost>& chunks, const Schedule& schedule, int stage) {
  const Instruction::Kind last =
      splits_weight_gradients(schedule) ? Instruction::Kind::weight_gradient : Instruction::Kind::backward;
  const bool has_loss = stage + 1 == schedule.shape.stages;
  double alive = 0, peak = 0;
  for (const Instruction& instruction : schedule.stages[static_cast<std::size_t>(stage)]) {
    if (!computes(instruction.kind)) continue;
    const BlockCost& cost = chunks[static_cast<std::size_t>(instruction.chunk)];
    const bool waits = !has_loss || instruction.chunk + 1 < schedule.shape.chunks;  // its output, for its gradient
    const double own = cost.kept + (waits ? cost.output : 0);
    if (instruction.kind == Instruction::Kind::forward) {
      alive += own;
      peak = std::max({peak, alive, alive + cost.forward_peak});
    } else {
      peak = std::max(peak, alive + cost.backward_peak);
      if (instruction.kind == last) alive -= own;
    }
  }
  return peak;
}

// What ZeRO sends in a step from each of `data` ranks that share `trained` parameters, in bytes.
double zero_traffic(double trained, double value_bytes, int zero_stage, int data, int micro_batches) {
  const double share = 1 - 1.0 / data;
  switch (zero_stage) {
    case 0:
      return 8 * trained * share;
    case 1:
      return (4 + value_bytes) * trained * share;
    case 2:
      return (4 * micro_batches + value_bytes) * trained * share;
    default:
      return (4 + 2 * value_bytes) * micro_batches * trained * share;
  }
}

std::vector<BlockCost> chunk_costs(const std::vector<BlockCost>& costs, const std::vector<BlockRange>& pieces) {
  std::vector<BlockCost> chunks;
  for (const BlockRange piece : pieces) chunks.push_back(piece_cost(costs, piece));
  return chunks;
}

struct Mode {
  ScheduleKind schedule;
  int chunks;
};

std::vector<Mode> modes_of(const GridShape& grid, std::size_t blocks) {
  std::vector<Mode> modes{{ScheduleKind::one_f_one_b, 1}};
  if (grid.pipeline == 1) return modes;
  modes.push_back({ScheduleKind::zero_bubble, 1});
  for (const int chunks : {2, 4}) {
    if (static_cast<std::size_t>(grid.pipeline * chunks) <= blocks) {
      modes.push_back({ScheduleKind::interleaved, chunks});
    }
  }
  return modes;
}

// Fills in what follows from grid, schedule, chunks and ZeRO stage.
void complete(Plan& plan, const PlanInput& input, const std::vector<BlockCost>& costs) {
  const int stages = plan.grid.pipeline, data = plan.grid.data;
  const int micro_batches = (input.micro_batches + data - 1) / data;
  const Schedule schedule =
      make_schedule(plan.schedule, {.stages = stages, .micro_batches = micro_batches, .chunks = plan.chunks});
  const DType dtype = input.form.dtype;
  const auto memory_of = [&](int stage, const std::vector<BlockRange>& pieces) {
    return rank_memory(costs, pieces, schedule, stage, plan.zero_stage, data, dtype);
  };
  const MemoryLimit limit{
      input.memory, [&](int stage, const std::vector<BlockRange>& pieces) { return memory_of(stage, pieces).total(); }};
  const PartitionShape shape{stages, plan.chunks};
  const bool by_hand = static_cast<int>(input.cuts.size()) + 1 == shape.pieces() && !input.cuts.empty();
  try {
    plan.pieces = by_hand ? manual_cuts(input.model, input.cuts, shape.pieces()) : partition(costs, shape, limit);
  } catch (const Error& error) {
    plan.problem = error.message();
    plan.pieces = partition(costs, shape);
  }
  double traffic = 0;
  for (int stage = 0; stage < stages; ++stage) {
    const std::vector<BlockRange> own = pieces_of_stage(plan.pieces, stages, stage);
    plan.stages.push_back(memory_of(stage, own));
    double trained = 0;
    for (const BlockCost& chunk : chunk_costs(costs, own)) trained += number(chunk.trained);
    traffic = std::max(traffic, zero_traffic(trained, number(static_cast<std::int64_t>(size_of(dtype))),
                                             plan.zero_stage, data, micro_batches));
  }
  if (plan.problem.empty() && input.memory > 0 && plan.largest().total() > input.memory) {
    plan.problem = fmt::format("needs {:.0f} MiB of {:.0f}", plan.largest().total() / mib, input.memory / mib);
  }
  std::vector<PieceCost> times;
  for (const BlockCost& piece : chunk_costs(costs, plan.pieces)) {
    times.push_back({.forward = piece.forward / input.operations,
                     .backward = (piece.backward + piece.recompute) / input.operations,
                     .weight = piece.weight_gradient / input.operations,
                     .send = piece.output / input.bandwidth});
  }
  const Timeline timeline = simulate(schedule, times);
  plan.step_seconds = timeline.length + traffic / input.bandwidth;
  plan.bubble = timeline.bubble() / plan.step_seconds;
}

}  // namespace

const RankMemory& Plan::largest() const {
  return *std::ranges::max_element(stages, {}, [](const RankMemory& memory) { return memory.total(); });
}

RankMemory rank_memory(const std::vector<BlockCost>& costs, const std::vector<BlockRange>& pieces,
                       const Schedule& schedule, int stage, int zero_stage, int data, DType dtype) {
  const std::vector<BlockCost> chunks = chunk_costs(costs, pieces);
  BlockCost sum;
  std::int64_t largest = 0, tables = 0;  // of what trains
  for (const BlockCost& chunk : chunks) {
    sum.trained += chunk.trained;
    sum.frozen += chunk.frozen;
    sum.weights += chunk.weights;
    if (chunk.tied > 0 && ++tables == 2) share_table(sum, chunk);
    largest = std::max(largest, chunk.trained);
  }
  const double trained = number(sum.trained), value_bytes = number(static_cast<std::int64_t>(size_of(dtype)));
  const double shard = trained / data, chunk = number(largest);
  const double bucket =
      data == 1 ? 0 : std::min(number(ZeroOptions{}.bucket_bytes), trained * (zero_stage == 1 ? value_bytes : 4));
  RankMemory memory;
  memory.weights = sum.weights;
  if (zero_stage == 3) memory.weights += value_bytes * (shard + std::min(2 * chunk, trained) - trained);
  memory.gradients = zero_stage < 2 ? 4 * trained : 4 * (shard + chunk);
  memory.optimizer = 12 * (zero_stage == 0 ? trained : shard);
  memory.communication = zero_stage == 0 ? 0 : bucket;
  memory.activations = activation_peak(chunks, schedule, stage);
  return memory;
}

std::vector<Plan> plan(const PlanInput& input) {
  check(input.ranks > 0 && input.micro_batches > 0, "a plan needs ranks and micro-batches; got {} and {}", input.ranks,
        input.micro_batches);
  const std::vector<BlockCost> costs = block_costs(input.model, input.micro_batch, input.form);
  std::vector<Plan> plans;
  for (const GridShape& grid : grids_of(input.ranks, static_cast<int>(costs.size()))) {
    for (const Mode& mode : modes_of(grid, costs.size())) {
      for (int zero_stage = 0; zero_stage <= (grid.data > 1 ? 3 : 0); ++zero_stage) {
        Plan candidate{.grid = grid, .schedule = mode.schedule, .chunks = mode.chunks, .zero_stage = zero_stage};
        complete(candidate, input, costs);
        plans.push_back(std::move(candidate));
      }
    }
  }
  std::ranges::stable_sort(plans, [](const Plan& a, const Plan& b) {
    if (a.problem.empty() != b.problem.empty()) return a.problem.empty();
    if (!a.problem.empty()) return a.largest().total() < b.largest().total();
    return a.step_seconds < b.step_seconds;
  });
  return plans;
}

std::string plan_table(const std::vector<Plan>& plans, std::size_t most) {
  std::string table = fmt::format("  {:>4} {:>8}  {:<12} {:>6} {:>4} {:>9} {:>8} {:>10}  {}\n", "data", "pipeline",
                                  "schedule", "chunks", "ZeRO", "step", "bubble", "MiB a rank", "");
  for (std::size_t i = 0; i < std::min(plans.size(), most); ++i) {
    const Plan& plan = plans[i];
    table += fmt::format("  {:>4} {:>8}  {:<12} {:>6} {:>4} {:>7.3g} s {:>6.1f} % {:>10.1f}  {}\n", plan.grid.data,
                         plan.grid.pipeline, plan.grid.pipeline == 1 ? "-" : name_of(plan.schedule), plan.chunks,
                         plan.zero_stage, plan.step_seconds, 100 * plan.bubble, plan.largest().total() / mib,
                         plan.problem.empty() ? "fits" : "does not fit");
  }
  return table;
}

std::string memory_table(const PlanInput& input, const Plan& plan) {
  std::string table = fmt::format("  {:>5} {:>9} {:>11} {:>9} {:>9} {:>13} {:>9}  {}\n", "stage", "weights",
                                  "activations", "gradients", "optimizer", "communication", "total", "blocks");
  for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const RankMemory& m = plan.stages[stage];
    std::vector<std::string> names;
    for (const BlockRange piece : pieces_of_stage(plan.pieces, plan.grid.pipeline, static_cast<int>(stage))) {
      names.push_back(name_of(input.model, piece));
    }
    table += fmt::format("  {:>5} {:>9.1f} {:>11.1f} {:>9.1f} {:>9.1f} {:>13.1f} {:>9.1f}  {}\n", stage,
                         m.weights / mib, m.activations / mib, m.gradients / mib, m.optimizer / mib,
                         m.communication / mib, m.total() / mib, fmt::join(names, ", "));
  }
  return table;
}

}  // namespace skymm
