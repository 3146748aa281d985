#include "launch/assembly/layout.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "parallel/pipeline/partition.hpp"

namespace skymm {
namespace {

StageCosts stage_costs(const TrainConfig& config, const MultimodalConfig& model, const StepCounts& counts) {
  const ComputeForm form = compute_form(parse_dtype(config.model.dtype), device_of(config.run));
  return {model, counts, form, recompute_modes(config.model)};
}

// What a micro-batch is taken for when the model is cut, before anybody knows how long samples are: a picture each, all
// as long as they may be, half of the text answers. As skymm plan does.
StageCosts expected_costs(const TrainConfig& config, const MultimodalConfig& model) {
  const std::int64_t samples = config.train.micro_batch, length = config.data.max_length;
  const std::int64_t visual = model.vision ? model.resampler.tokens(*model.vision) : 0;
  const std::int64_t images = model.vision ? samples : 0;
  return stage_costs(config, model,
                     {.tokens = samples * length,
                      .labels = samples * std::max<std::int64_t>(1, (length - visual) / 2),
                      .images = images,
                      .resampled = images,
                      .mean_length = static_cast<double>(length)});
}

}  // namespace

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
  const StageCosts costs = stage_costs(config, model, counts);
  const auto stages = static_cast<std::size_t>(config.parallel.pipeline);
  std::vector<double> work(stages, 0);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const BlockCost cost = piece_cost(costs.of(static_cast<int>(i % stages)), pieces[i]);
    work[i % stages] += cost.forward + cost.recompute + cost.backward;
  }
  return work;
}

Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks) {
  const ParallelConfig& parallel = config.parallel;
  Layout layout;
  layout.grid = resolve_grid(ranks, parallel.data, parallel.pipeline,
                             static_cast<int>(all_blocks(model).size() / parallel.chunks));
  layout.order = parallel.order == "data" ? GridOrder::data_inside : GridOrder::pipeline_inside;
  const PipelineShape shape{parallel.pipeline, micro_batches_of(config, layout.grid.data), parallel.chunks};
  const StageCosts costs = expected_costs(config, model);
  layout.pieces = parallel.cuts.empty() ? partition(costs, {shape.stages, shape.chunks})
                                        : manual_cuts(model, parallel.cuts, shape.pieces());
  check_tied_table(costs, layout.pieces, shape.stages);
  layout.table = partition_table(model, costs, layout.pieces, shape.stages);
  layout.training = make_schedule(parse_schedule(parallel.schedule), shape);
  layout.validation = make_forward_schedule(shape);
  add_zero(layout.training, parallel.zero);
  add_zero(layout.validation, parallel.zero);
  return layout;
}

}  // namespace skymm
