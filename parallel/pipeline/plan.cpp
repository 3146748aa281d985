#include "parallel/pipeline/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "parallel/pipeline/layer_uses.hpp"
#include "parallel/pipeline/simulation.hpp"
#include "parallel/zero/memory.hpp"

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

std::vector<Recompute> modes_of(const PlanInput& input) {
  return input.recompute.empty() ? std::vector{input.model.recompute} : input.recompute;
}

StageCosts costs_of(const PlanInput& input) { return {input.model, input.micro_batch, input.form, modes_of(input)}; }

std::vector<BlockRange> cuts_by_hand(const PlanInput& input) {
  return input.cuts.empty() ? std::vector<BlockRange>() : cut_at(input.model, input.cuts);
}

std::vector<BlockCost> chunk_costs(const std::vector<BlockCost>& costs, const std::vector<BlockRange>& pieces) {
  std::vector<BlockCost> chunks;
  for (const BlockRange piece : pieces) chunks.push_back(piece_cost(costs, piece));
  return chunks;
}

// What ZeRO shards and moves on a rank with these chunks.
ZeroSizes zero_sizes(const std::vector<BlockCost>& chunks, const Schedule& schedule, int stage, int data, DType dtype) {
  ZeroSizes sizes{.dtype = dtype, .ranks = data, .micro_batches = schedule.shape.micro_batches};
  bool has_table = false;
  for (const BlockCost& chunk : chunks) {
    BlockCost own = chunk;
    if (chunk.tied > 0 && std::exchange(has_table, true)) share_table(own, chunk);
    sizes.chunks.push_back(own.trained);
  }
  const std::vector<Instruction>& list = schedule.stages[static_cast<std::size_t>(stage)];
  const auto gathers = std::ranges::count(list, Instruction::Kind::gather_weights, &Instruction::kind);
  sizes.gathers = static_cast<int>(gathers) / schedule.shape.chunks;
  sizes.gathered = std::min(2, schedule.shape.chunks);
  return sizes;
}

// Bytes of the frozen layers that a stage gathers in a step, where they are sharded.
double frozen_gathered(const MultimodalConfig& config, const std::vector<BlockCost>& costs,
                       const std::vector<BlockRange>& pieces, const Schedule& schedule, int stage) {
  double bytes = 0;
  for (const std::int64_t layer :
       gathers_of(layer_uses(config, schedule.stages[static_cast<std::size_t>(stage)], pieces))) {
    bytes += costs[static_cast<std::size_t>(layer)].frozen_layers;
  }
  return bytes;
}

struct Order {
  ScheduleKind schedule;
  int chunks;
};

std::vector<Order> orders_of(const GridShape& grid, std::size_t blocks, int own_chunks) {
  std::vector<Order> orders{{ScheduleKind::one_f_one_b, 1}};
  if (grid.pipeline == 1) return orders;
  orders.push_back({ScheduleKind::gpipe, 1});
  orders.push_back({ScheduleKind::zero_bubble, 1});
  std::set<int> counts{2, 4};
  if (own_chunks > 1) counts.insert(own_chunks);
  for (const int chunks : counts) {
    if (static_cast<std::size_t>(grid.pipeline * chunks) <= blocks) {
      orders.push_back({ScheduleKind::interleaved, chunks});
    }
  }
  return orders;
}

// Fills in what follows from grid, schedule, chunks and ZeRO stage. by_hand: pieces, if they are for this shape.
void complete(Plan& plan, const PlanInput& input, const StageCosts& costs, const std::vector<BlockRange>& by_hand) {
  const int stages = plan.grid.pipeline, data = plan.grid.data;
  const int micro_batches = (input.micro_batches + data - 1) / data;
  Schedule schedule =
      make_schedule(plan.schedule, {.stages = stages, .micro_batches = micro_batches, .chunks = plan.chunks});
  add_zero(schedule, plan.zero_stage);
  const DType dtype = input.form.dtype;
  const RankForm form{.dtype = dtype,
                      .zero_stage = plan.zero_stage,
                      .data = data,
                      .sharing = plan.sharing,
                      .shard_frozen = input.shard_frozen,
                      .by_nccl = input.by_nccl,
                      .on_host = input.on_host};
  const auto memory_of = [&](int stage, const std::vector<BlockRange>& pieces) {
    return rank_memory(costs.of(stage), pieces, schedule, stage, form);
  };
  const MemoryLimit limit{
      input.memory, [&](int stage, const std::vector<BlockRange>& pieces) { return memory_of(stage, pieces).total(); }};
  const PartitionShape shape{stages, plan.chunks};
  const bool cut = static_cast<int>(by_hand.size()) == shape.pieces();
  try {
    plan.pieces = cut ? by_hand : partition(costs, shape, limit);
    check_tied_table(costs, plan.pieces, stages);
  } catch (const Error& error) {
    plan.problem = error.message();
    if (!cut) plan.pieces = partition(costs, shape);
  }
  if (!input.uneven && input.micro_batches % data != 0) {
    plan.problem =
        fmt::format("{} micro-batches do not divide by {} data-parallel ranks; parallel.uneven deal lets them",
                    input.micro_batches, data);
  }
  double traffic = 0;
  for (int stage = 0; stage < stages; ++stage) {
    const std::vector<BlockRange> own = pieces_of_stage(plan.pieces, stages, stage);
    plan.stages.push_back(memory_of(stage, own));
    const ZeroTraffic sent = zero_traffic({.stage = plan.zero_stage},
                                          zero_sizes(chunk_costs(costs.of(stage), own), schedule, stage, data, dtype));
    const double gathered =
        input.shard_frozen ? frozen_gathered(input.model, costs.of(stage), own, schedule, stage) : 0;
    traffic = std::max(
        traffic, number(sent.gradients + sent.weights + frozen_traffic(static_cast<std::int64_t>(gathered), data)));
  }
  if (plan.problem.empty() && input.memory > 0 && plan.largest().total() > input.memory) {
    plan.problem =
        fmt::format("the fullest stage needs {:.1f} MiB of {:.1f}", plan.largest().total() / mib, input.memory / mib);
  }
  std::vector<PieceCost> times;
  for (int number = 0; number < shape.pieces(); ++number) {
    const BlockCost piece = piece_cost(costs.of(number % stages), plan.pieces[static_cast<std::size_t>(number)]);
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
                       const Schedule& schedule, int stage, const RankForm& form) {
  const std::vector<BlockCost> chunks = chunk_costs(costs, pieces);
  BlockCost sum;
  std::int64_t tables = 0;
  for (const BlockCost& chunk : chunks) {
    sum.trained += chunk.trained;
    sum.frozen += chunk.frozen;
    sum.weights += chunk.weights;
    sum.frozen_layers += chunk.frozen_layers;
    sum.largest_layer = std::max(sum.largest_layer, chunk.largest_layer);
    if (chunk.tied > 0 && ++tables == 2) share_table(sum, chunk);
  }
  ZeroSizes sizes = zero_sizes(chunks, schedule, stage, form.data, form.dtype);
  sizes.by_nccl = form.by_nccl;
  const ZeroMemory zero = zero_memory({.stage = form.zero_stage}, sizes);
  const double trained_weights = number(sum.trained) * number(static_cast<std::int64_t>(size_of(form.dtype)));
  ZeroMemory shards;
  if (form.shard_frozen && form.data > 1) {
    shards = frozen_memory(static_cast<std::int64_t>(sum.frozen_layers), static_cast<std::int64_t>(sum.largest_layer),
                           form.data);
    sum.weights -= sum.frozen_layers;
  }
  RankMemory memory;
  memory.weights = (sum.weights - trained_weights) / form.sharing + number(zero.weights + shards.weights);
  memory.gradients = number(zero.gradients);
  memory.optimizer = number(zero.optimizer);
  memory.communication = number(zero.communication + shards.communication);
  memory.activations = activation_peak(chunks, schedule, stage);
  if (form.on_host) memory.checkpoint = number(zero_memory({.stage = 1}, sizes).optimizer);
  return memory;
}

std::vector<Plan> plan(const PlanInput& input) {
  check(input.ranks > 0 && input.micro_batches > 0, "a plan needs ranks and micro-batches; got {} and {}", input.ranks,
        input.micro_batches);
  const StageCosts costs = costs_of(input);
  const std::size_t modes = modes_of(input).size();
  const std::vector<BlockRange> by_hand = cuts_by_hand(input);
  bool used = by_hand.empty(), staged = modes == 1;
  std::vector<Plan> plans;
  for (const GridShape& grid : grids_of(input.ranks, static_cast<int>(costs.blocks()))) {
    if (modes > 1 && static_cast<std::size_t>(grid.pipeline) != modes) continue;
    staged = true;
    for (const Order& order : orders_of(grid, costs.blocks(), input.chunks)) {
      const PartitionShape shape{grid.pipeline, order.chunks};
      if (!can_cut(costs, shape)) continue;
      used = used || static_cast<int>(by_hand.size()) == shape.pieces();
      for (int zero_stage = 0; zero_stage <= (grid.data > 1 ? 3 : 0); ++zero_stage) {
        Plan candidate{.grid = grid, .schedule = order.schedule, .chunks = order.chunks, .zero_stage = zero_stage};
        candidate.sharing = replicas_on_node(grid, input.order, input.ranks_per_node);
        complete(candidate, input, costs, by_hand);
        plans.push_back(std::move(candidate));
      }
    }
  }
  check(staged, "model.recompute names {} stages, and no grid of {} ranks has so many", modes, input.ranks);
  check(used, "the cuts make {} pieces of the model, as no grid of {} ranks has them", by_hand.size(), input.ranks);
  std::ranges::stable_sort(plans, [](const Plan& a, const Plan& b) {
    if (a.problem.empty() != b.problem.empty()) return a.problem.empty();
    if (!a.problem.empty()) return a.largest().total() < b.largest().total();
    return a.step_seconds < b.step_seconds;
  });
  return plans;
}

Plan with_recompute(const Plan& plan, PlanInput input, Recompute mode) {
  input.recompute = {mode};
  return completed({.grid = plan.grid,
                    .schedule = plan.schedule,
                    .chunks = plan.chunks,
                    .zero_stage = plan.zero_stage,
                    .sharing = plan.sharing},
                   input);
}

Plan completed(Plan plan, const PlanInput& input) {
  complete(plan, input, costs_of(input), cuts_by_hand(input));
  return plan;
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

std::string recompute_table(const PlanInput& input, const Plan& plan) {
  std::string table =
      fmt::format("  {:<13} {:>11} {:>15} {:>10}\n", "recompute", "step", "activations MiB", "MiB a rank");
  for (const Recompute mode : {Recompute::none, Recompute::attention_mlp, Recompute::full}) {
    const Plan other = with_recompute(plan, input, mode);
    table += fmt::format("  {:<13} {:>9.3g} s {:>15.1f} {:>10.1f}  {}\n", name_of(mode), other.step_seconds,
                         other.largest().activations / mib, other.largest().total() / mib,
                         other.problem.empty() ? "fits" : "does not fit");
  }
  return table;
}

std::string options_of(const PlanInput& input, const Plan& plan) {
  const std::vector<ModelBlock> blocks = model_blocks(input.model);
  std::vector<std::string> cuts;
  for (const BlockRange piece : plan.pieces) cuts.push_back(name_of(blocks[static_cast<std::size_t>(piece.begin)]));
  cuts.erase(cuts.begin());  // the first piece begins with the model
  return fmt::format(
      "--parallel.data {} --parallel.pipeline {} --parallel.schedule {} --parallel.chunks {} --parallel.zero {} "
      "--parallel.cuts {}",
      plan.grid.data, plan.grid.pipeline, name_of(plan.schedule), plan.chunks, plan.zero_stage,
      cuts.empty() ? "none" : fmt::format("{}", fmt::join(cuts, ",")));
}

std::string memory_table(const PlanInput& input, const Plan& plan) {
  std::string table =
      fmt::format("  {:>5} {:>9} {:>11} {:>9} {:>9} {:>13} {:>10} {:>9}  {}\n", "stage", "weights", "activations",
                  "gradients", "optimizer", "communication", "checkpoint", "total", "blocks");
  for (std::size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const RankMemory& m = plan.stages[stage];
    std::vector<std::string> names;
    for (const BlockRange piece : pieces_of_stage(plan.pieces, plan.grid.pipeline, static_cast<int>(stage))) {
      names.push_back(name_of(input.model, piece));
    }
    table += fmt::format("  {:>5} {:>9.1f} {:>11.1f} {:>9.1f} {:>9.1f} {:>13.1f} {:>10.1f} {:>9.1f}  {}\n", stage,
                         m.weights / mib, m.activations / mib, m.gradients / mib, m.optimizer / mib,
                         m.communication / mib, m.checkpoint / mib, m.total() / mib, fmt::join(names, ", "));
  }
  if (plan.sharing > 1) {
    table +=
        fmt::format("  frozen weights are one copy for {0} ranks of a node: each counts 1/{0} of them\n", plan.sharing);
  }
  if (input.shard_frozen && plan.grid.data > 1) {
    table +=
        fmt::format("  the decoder's frozen layers are spread over {} data-parallel ranks; two are whole at a time\n",
                    plan.grid.data);
  }
  return table;
}

}  // namespace skymm
