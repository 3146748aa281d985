#include "launch/layout.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/log.hpp"

namespace skymm {
namespace {

// In order, none empty, as long as each other to one block.
std::vector<BlockRange> cut_evenly(std::int64_t blocks, std::int64_t pieces) {
  std::vector<BlockRange> cut;
  for (std::int64_t i = 0; i < pieces; ++i) cut.push_back({i * blocks / pieces, (i + 1) * blocks / pieces});
  return cut;
}

std::vector<BlockRange> cut_at(const std::vector<std::string>& names, const MultimodalConfig& model) {
  const std::vector<ModelBlock> blocks = model_blocks(model);
  std::vector<BlockRange> cut{{0, static_cast<std::int64_t>(blocks.size())}};
  for (const std::string& name : names) {
    const auto found = std::ranges::find(blocks, name, [](const ModelBlock& block) { return name_of(block); });
    check(found != blocks.end(), "parallel.cuts: the model has no block '{}'; it goes from {} to {}", name,
          name_of(blocks.front()), name_of(blocks.back()));
    const std::int64_t begin = found - blocks.begin();
    check(begin > cut.back().begin, "parallel.cuts: {} does not come behind {}", name,
          name_of(blocks[static_cast<std::size_t>(cut.back().begin)]));
    cut.push_back({begin, std::exchange(cut.back().end, begin)});
  }
  return cut;
}

// Every rank has as many micro-batches, and at least one sample in a global batch.
int micro_batches_of(const TrainConfig& config, const GridShape& grid) {
  const std::int64_t samples = config.train.global_batch, each = config.train.micro_batch * grid.data;
  check(samples >= grid.data,
        "train.global_batch {} has no sample for each of {} data-parallel ranks; raise it to {} at least, or give "
        "parallel.pipeline more ranks",
        samples, grid.data, grid.data);
  if (samples % each != 0) {
    log::warn(
        "train.global_batch {} is not a multiple of {} (train.micro_batch x data-parallel ranks): some "
        "micro-batches have fewer samples; {} would fill all",
        samples, each, (samples + each - 1) / each * each);
  }
  return static_cast<int>((samples + each - 1) / each);
}

}  // namespace

std::vector<BlockRange> Layout::pieces_of(int stage) const {
  std::vector<BlockRange> held;
  for (int chunk = 0; chunk < training.shape.chunks; ++chunk) {
    held.push_back(pieces[static_cast<std::size_t>(training.shape.piece(stage, chunk))]);
  }
  return held;
}

Layout make_layout(const TrainConfig& config, const MultimodalConfig& model, int ranks) {
  const ParallelConfig& parallel = config.parallel;
  const std::int64_t blocks = all_blocks(model).size();
  Layout layout;
  layout.grid = resolve_grid(ranks, parallel.data, parallel.pipeline, static_cast<int>(blocks / parallel.chunks));
  layout.order = parallel.order == "data" ? GridOrder::data_inside : GridOrder::pipeline_inside;
  const PipelineShape shape{parallel.pipeline, micro_batches_of(config, layout.grid), parallel.chunks};
  layout.pieces = parallel.cuts.empty() ? cut_evenly(blocks, shape.pieces()) : cut_at(parallel.cuts, model);
  layout.training = make_schedule(parse_schedule(parallel.schedule), shape);
  layout.validation = make_forward_schedule(shape);
  add_zero(layout.training, parallel.zero);
  add_zero(layout.validation, parallel.zero);
  return layout;
}

std::string cut_table(const Layout& layout, const MultimodalConfig& model) {
  const std::vector<ModelBlock> blocks = model_blocks(model);
  std::string table = fmt::format("  {:>5} {:>5}  {}\n", "stage", "piece", "blocks");
  for (std::size_t i = 0; i < layout.pieces.size(); ++i) {
    const auto [begin, end] = layout.pieces[i];
    table += fmt::format("  {:>5} {:>5}  {} .. {}\n", layout.training.shape.stage_of(static_cast<int>(i)), i,
                         name_of(blocks[static_cast<std::size_t>(begin)]),
                         name_of(blocks[static_cast<std::size_t>(end - 1)]));
  }
  return table;
}

}  // namespace skymm
