#include "bench/scaling/cases.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.hpp"
#include "parallel/pipeline/partition.hpp"

namespace skymm::bench {
namespace {

// Much larger than a layer's heads would make the last stage slower than the others.
constexpr std::int64_t vocabulary = 512;
constexpr std::int64_t visual_tokens = 64;

std::vector<Case> data_cases(int ranks, int micro_batches) {
  std::vector<Case> cases;
  for (int zero = 0; zero <= 3; ++zero) {
    cases.push_back({.name = fmt::format("data {}, ZeRO {}", ranks, zero),
                     .group = "strong",
                     .grid = {ranks, 1},
                     .zero = zero,
                     .micro_batches = micro_batches});
  }
  for (const int zero : {1, 2}) {
    cases.push_back({.name = fmt::format("data {}, ZeRO {}", ranks, zero),
                     .group = "weak",
                     .grid = {ranks, 1},
                     .zero = zero,
                     .micro_batches = ranks * micro_batches});
  }
  for (int zero = 0; zero <= 3; ++zero) {
    for (const bool overlap : {true, false}) {
      cases.push_back({.name = fmt::format("data {}, ZeRO {}", ranks, zero),
                       .group = "overlap",
                       .grid = {ranks, 1},
                       .zero = zero,
                       .overlap = overlap,
                       .micro_batches = std::max(ranks, micro_batches / 2)});
    }
  }
  return cases;
}

std::vector<Case> pipeline_cases(int ranks, int micro_batches) {
  const GridShape grid{1, ranks};
  const auto with = [&](const char* group, ScheduleKind schedule, int chunks, int count) {
    return Case{.name = fmt::format("pipeline {}, {}", ranks, name_of(schedule)),
                .group = group,
                .grid = grid,
                .schedule = schedule,
                .chunks = chunks,
                .micro_batches = count};
  };
  std::vector<Case> cases{with("strong", ScheduleKind::one_f_one_b, 1, micro_batches),
                          with("strong", ScheduleKind::interleaved, 2, micro_batches / 2),
                          with("strong", ScheduleKind::zero_bubble, 1, micro_batches),
                          with("weak", ScheduleKind::one_f_one_b, 1, ranks * micro_batches)};
  for (const bool overlap : {true, false}) {
    for (const auto& [schedule, chunks] : {std::pair{ScheduleKind::one_f_one_b, 1}, {ScheduleKind::interleaved, 2}}) {
      cases.push_back(with("overlap", schedule, chunks, micro_batches / 2));
      cases.back().overlap = overlap;
    }
  }
  const auto vision = [&](const char* name, ScheduleKind schedule, int chunks, Cut cut) {
    cases.push_back(with("vision", schedule, chunks, micro_batches / 2));
    cases.back().name = name;
    cases.back().cut = cut;
  };
  vision("decoder cut in equal parts", ScheduleKind::one_f_one_b, 1, Cut::middle);
  vision("the same, interleaved", ScheduleKind::interleaved, 2, Cut::middle);
  vision("cut by costs", ScheduleKind::one_f_one_b, 1, Cut::by_costs);
  vision("cut by costs, interleaved", ScheduleKind::interleaved, 2, Cut::by_costs);
  return cases;
}

bool listed(const std::string& groups, const std::string& group) {
  return groups == "all" || fmt::format(",{},", groups).find(fmt::format(",{},", group)) != std::string::npos;
}

}  // namespace

std::vector<Case> cases_of(int ranks, int micro_batches, const std::string& groups) {
  const Case alone{.name = "one rank", .group = "alone", .grid = {1, 1}, .micro_batches = micro_batches};
  std::vector<Case> cases;
  std::vector<Case> more{alone};
  if (ranks > 1) {
    std::ranges::copy(data_cases(ranks, micro_batches), std::back_inserter(more));
    more.push_back(alone);  // again: what the machine does may have changed
    std::ranges::copy(pipeline_cases(ranks, micro_batches), std::back_inserter(more));
  }
  for (const GridShape& grid : grids_of(ranks, ranks)) {
    if (grid.data == 1 || grid.pipeline == 1) continue;
    more.push_back({.name = fmt::format("data {} x pipeline {}, ZeRO 1", grid.data, grid.pipeline),
                    .group = "strong",
                    .grid = grid,
                    .zero = 1,
                    .micro_batches = micro_batches});
  }
  for (Case& one : more) {
    const bool fits = one.micro_batches % one.grid.data == 0 && one.micro_batches >= one.grid.data;
    if (fits && (one.group == alone.group || listed(groups, one.group))) cases.push_back(std::move(one));
  }
  return cases;
}

MultimodalConfig config_of(const Case& one, const Sizes& sizes) {
  constexpr std::int64_t head_width = 64;
  check(sizes.width % head_width == 0, "a width of {} is not a multiple of {}", sizes.width, head_width);
  const std::int64_t heads = sizes.width / head_width;
  MultimodalConfig config;
  config.decoder = {.vocabulary = vocabulary,
                    .width = sizes.width,
                    .layers = sizes.layers,
                    .heads = heads,
                    .kv_heads = heads,
                    .head_width = head_width,
                    .ffn = sizes.width * 8 / 3 / 64 * 64,
                    .tied = false};
  config.lora = {.rank = sizes.lora_rank * (one.group == "overlap" ? 4 : 1), .alpha = 32};
  if (one.group != "vision") return config;
  config.decoder.layers = sizes.layers / 2;
  config.vision = {.image = 224,
                   .patch = 16,
                   .width = sizes.width,
                   .layers = sizes.layers / 4,
                   .heads = heads,
                   .ffn = 4 * sizes.width};
  config.resampler = {.kind = ResamplerKind::qwen, .queries = visual_tokens, .heads = heads};
  return config;
}

BatchShape batch_shape(const MultimodalConfig& config, const Sizes& sizes) {
  const std::int64_t visual = config.vision ? config.resampler.tokens(*config.vision) : 0;
  check(sizes.tokens > visual, "a sample of {} tokens has no room beside the {} of its picture", sizes.tokens, visual);
  const std::int64_t text = sizes.tokens - visual;
  return {.samples = 1, .text = text, .labels = std::max<std::int64_t>(1, text / 8)};
}

StepCounts counts_of(const MultimodalConfig& config, const Sizes& sizes) {
  const std::int64_t images = config.vision ? 1 : 0;
  return {.tokens = sizes.tokens,
          .labels = batch_shape(config, sizes).labels,
          .images = images,
          .resampled = images,
          .mean_length = static_cast<double>(sizes.tokens)};
}

std::vector<BlockRange> pieces_of(const Case& one, const MultimodalConfig& config, const StepCounts& counts,
                                  DType dtype) {
  const PartitionShape shape{one.grid.pipeline, one.chunks};
  if (one.cut == Cut::by_costs) return partition(block_costs(config, counts, compute_form(dtype, cpu())), shape);
  const std::int64_t first = first_block(config, BlockKind::layer), pieces = shape.pieces();
  check(config.decoder.layers >= pieces, "{} layers are too few for {} pieces", config.decoder.layers, pieces);
  std::vector<BlockRange> cut;
  for (std::int64_t i = 0; i < pieces; ++i) {
    const auto begin = [&](std::int64_t piece) { return first + config.decoder.layers * piece / pieces; };
    cut.push_back({i == 0 ? 0 : begin(i), i + 1 == pieces ? all_blocks(config).end : begin(i + 1)});
  }
  return cut;
}

Schedule schedule_of(const Case& one) {
  Schedule schedule = make_schedule(
      one.schedule,
      {.stages = one.grid.pipeline, .micro_batches = one.micro_batches / one.grid.data, .chunks = one.chunks});
  add_zero(schedule, one.zero);
  return schedule;
}

}  // namespace skymm::bench
