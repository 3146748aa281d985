#include "launch/assembly/layout.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "parallel/pipeline/partition.hpp"

namespace skymm {

int micro_batches_of(const TrainConfig& config, int data) {
  const std::int64_t samples = config.train.global_batch, each = config.train.micro_batch * data;
  check(samples >= data,
        "train.global_batch {} has no sample for each of {} data-parallel ranks; raise it to {} at least, or give "
        "parallel.pipeline more ranks",
        samples, data, data);
  const std::int64_t below = samples / each * each, above = (samples + each - 1) / each * each;
  const std::string fitting = below > 0 ? fmt::format("{} or {}", below, above) : fmt::format("{}", above);
  check(
      below == above || config.parallel.uneven == "deal",
      "train.global_batch {} is not a multiple of {} (train.micro_batch {} x {} data-parallel ranks): take {}, another "
      "train.micro_batch, or parallel.uneven deal, which trains the same on micro-batches of fewer samples",
      samples, each, config.train.micro_batch, data, fitting);
  return static_cast<int>(above / each);
}

std::vector<double> stage_work(const TrainConfig& config, const MultimodalConfig& model,
                               const std::vector<BlockRange>& pieces, const StepCounts& counts) {
  const ComputeForm form = compute_form(parse_dtype(config.model.dtype), device_of(config.run));
  const StageCosts costs(model, counts, form, recompute_modes(config.model));
  const auto stages = static_cast<std::size_t>(config.parallel.pipeline);
  std::vector<double> work(stages, 0);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const BlockCost cost = piece_cost(costs.of(static_cast<int>(i % stages)), pieces[i]);
    work[i % stages] += cost.forward + cost.recompute + cost.backward;
  }
  return work;
}

PlanInput plan_input(const TrainConfig& config, const MultimodalConfig& model, const ComputeForm& form, int ranks,
                     int ranks_per_node) {
  const ParallelConfig& parallel = config.parallel;
  const std::int64_t samples = config.train.micro_batch, length = config.data.max_length;
  const std::int64_t visual = model.vision ? model.resampler.tokens(*model.vision) : 0;
  const std::int64_t images = model.vision ? samples : 0;
  const bool on_host = config.run.device == "cpu";
  return {.model = model,
          .form = form,
          .micro_batch = {.tokens = samples * length,
                          .labels = samples * std::max<std::int64_t>(1, (length - visual) / 2),
                          .images = images,
                          .resampled = images,
                          .mean_length = static_cast<double>(length)},
          .micro_batches = micro_batches_of(config, 1),
          .ranks = ranks,
          .memory = memory_limit(parallel),
          .uneven = parallel.uneven == "deal",
          .ranks_per_node = on_host && config.run.share_frozen == "auto" ? ranks_per_node : 1,
          .shard_frozen = parallel.shard_frozen,
          .by_nccl = parallel.transport == "nccl" || (parallel.transport == "auto" && config.run.device == "cuda"),
          .on_host = on_host,
          .order = parallel.order == "data" ? GridOrder::data_inside : GridOrder::pipeline_inside,
          .cuts = parallel.cuts,
          .chunks = parallel.chunks,
          .recompute = recompute_modes(config.model)};
}

Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks, int ranks_per_node) {
  const ParallelConfig& parallel = config.parallel;
  Layout layout;
  layout.grid = resolve_grid(ranks, parallel.data, parallel.pipeline,
                             static_cast<int>(all_blocks(model).size() / parallel.chunks));
  const PipelineShape shape{parallel.pipeline, micro_batches_of(config, layout.grid.data), parallel.chunks};
  const ComputeForm form = compute_form(parse_dtype(config.model.dtype), device_of(config.run));
  const PlanInput input = plan_input(config, model, form, ranks, ranks_per_node);
  if (!parallel.cuts.empty()) manual_cuts(model, parallel.cuts, shape.pieces());
  const Plan plan = completed({.grid = layout.grid,
                               .schedule = parse_schedule(parallel.schedule),
                               .chunks = shape.chunks,
                               .zero_stage = parallel.zero,
                               .sharing = replicas_on_node(layout.grid, input.order, input.ranks_per_node)},
                              input);
  check(plan.problem.empty() || input.memory == 0, "parallel.memory {}: {}", parallel.memory, plan.problem);
  check(plan.problem.empty(), "{}", plan.problem);
  layout.order = input.order;
  layout.pieces = plan.pieces;
  layout.costs = StageCosts(model, input.micro_batch, form, input.recompute);
  layout.training = make_schedule(plan.schedule, shape);
  layout.validation = make_forward_schedule(shape);
  add_zero(layout.training, parallel.zero);
  add_zero(layout.validation, parallel.zero);
  return layout;
}

}  // namespace skymm
