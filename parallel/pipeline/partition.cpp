#include "parallel/pipeline/partition.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

double time_of(const BlockCost& cost) { return cost.forward + cost.recompute + cost.backward; }

// The best way to cut the first so many blocks into so many pieces.
struct Best {
  double slowest = std::numeric_limits<double>::infinity();
  double squares = 0;
  std::size_t begin = 0;  // of the last piece

  bool operator<(const Best& other) const {
    return slowest != other.slowest ? slowest < other.slowest : squares < other.squares;
  }
};

// value(piece, [begin, end)): what its slowest is to be least of; infinite where it must not be.
template <class Value>
std::optional<std::vector<BlockRange>> least_of_the_most(std::size_t blocks, std::size_t pieces, const Value& value) {
  std::vector<std::vector<Best>> best(pieces + 1, std::vector<Best>(blocks + 1));
  best[0][0].slowest = 0;
  for (std::size_t piece = 1; piece <= pieces; ++piece) {
    for (std::size_t end = piece; end + (pieces - piece) <= blocks; ++end) {
      for (std::size_t begin = piece - 1; begin < end; ++begin) {
        const Best& before = best[piece - 1][begin];
        if (before.slowest == std::numeric_limits<double>::infinity()) continue;
        const double own =
            value(static_cast<int>(piece - 1), {static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)});
        const Best here{std::max(before.slowest, own), before.squares + own * own, begin};
        if (here < best[piece][end]) best[piece][end] = here;
      }
    }
  }
  if (best[pieces][blocks].slowest == std::numeric_limits<double>::infinity()) return std::nullopt;
  std::vector<BlockRange> cut(pieces);
  for (std::size_t piece = pieces, end = blocks; piece > 0; --piece) {
    const std::size_t begin = best[piece][end].begin;
    cut[piece - 1] = {static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)};
    end = begin;
  }
  return cut;
}

// The block of an embedding that is the head too, and trains.
std::optional<std::int64_t> trained_table(const StageCosts& stages) {
  const std::vector<BlockCost>& costs = stages.of(0);  // stages differ in what they compute again alone
  const auto table = std::ranges::find_if(costs, [](const BlockCost& cost) { return cost.tied > 0; });
  if (table == costs.end() || table->trained == 0) return std::nullopt;
  return table - costs.begin();
}

bool contains(BlockRange piece, std::int64_t block) { return piece.begin <= block && block < piece.end; }

[[noreturn]] void fail_for_table(int stages) {
  fail(
      "the decoder's head is its embedding table, and it trains: one stage must hold both, which no such cut over {} "
      "stages has. Take fewer stages, train LoRA in place of the decoder, or take a decoder with a head of its own",
      stages);
}

[[noreturn]] void fail_for_memory(const std::vector<BlockRange>& pieces, int stages, const MemoryLimit& memory) {
  int worst = 0;
  double most = 0;
  for (int stage = 0; stage < stages; ++stage) {
    const double bytes = memory.bytes(stage, pieces_of_stage(pieces, stages, stage));
    if (bytes > most) worst = stage;
    most = std::max(most, bytes);
  }
  fail(
      "the model does not fit: at best stage {} needs {:.2f} GiB of {:.2f} and lacks {:.2f}. More stages, recompute, a "
      "smaller micro-batch, or a higher ZeRO stage where much trains would help",
      worst, most / gib, memory.limit / gib, (most - memory.limit) / gib);
}

}  // namespace

StageCosts::StageCosts(MultimodalConfig config, const StepCounts& counts, const ComputeForm& form,
                       const std::vector<Recompute>& modes) {
  for (const Recompute mode : modes) {
    config.recompute = mode;
    lists_.push_back(block_costs(config, counts, form));
  }
}

std::vector<BlockRange> pieces_of_stage(const std::vector<BlockRange>& pieces, int stages, int stage) {
  std::vector<BlockRange> own;
  for (auto i = static_cast<std::size_t>(stage); i < pieces.size(); i += static_cast<std::size_t>(stages)) {
    own.push_back(pieces[i]);
  }
  return own;
}

std::vector<BlockRange> partition(const StageCosts& costs, const PartitionShape& shape, const MemoryLimit& memory) {
  check(shape.stages > 0 && shape.chunks > 0, "a pipeline of {} stages with {} chunks each does not exist",
        shape.stages, shape.chunks);
  check(static_cast<std::size_t>(shape.pieces()) <= costs.blocks(),
        "the model has {} blocks, too few for {} stages with {} pieces each; take fewer stages or chunks",
        costs.blocks(), shape.stages, shape.chunks);
  std::vector<std::vector<double>> until(static_cast<std::size_t>(shape.stages), {0});  // time of the blocks before
  for (int stage = 0; stage < shape.stages; ++stage) {
    std::vector<double>& sums = until[static_cast<std::size_t>(stage)];
    for (const BlockCost& cost : costs.of(stage)) sums.push_back(sums.back() + time_of(cost));
  }
  const auto time = [&](int number, BlockRange piece) {
    const std::vector<double>& sums = until[static_cast<std::size_t>(number % shape.stages)];
    return sums[static_cast<std::size_t>(piece.end)] - sums[static_cast<std::size_t>(piece.begin)];
  };
  if (!can_cut(costs, shape)) fail_for_table(shape.stages);
  const std::optional<std::int64_t> table = trained_table(costs);
  const auto tears = [&](int number, BlockRange piece) {
    return table && contains(piece, *table) && number % shape.stages + 1 != shape.stages;
  };
  constexpr double never = std::numeric_limits<double>::infinity();
  const bool limited = memory.limit > 0, each = shape.chunks == 1;
  const auto count = static_cast<std::size_t>(shape.pieces());
  const auto fastest = least_of_the_most(costs.blocks(), count, [&](int number, BlockRange piece) {
    const bool fits = !limited || !each || memory.bytes(number, {piece}) <= memory.limit;
    return fits && !tears(number, piece) ? time(number, piece) : never;
  });
  if (!fastest) {
    fail_for_memory(*least_of_the_most(costs.blocks(), count,
                                       [&](int stage, BlockRange piece) {
                                         return tears(stage, piece) ? never : memory.bytes(stage, {piece});
                                       }),
                    shape.stages, memory);
  }
  for (int stage = 0; limited && stage < shape.stages; ++stage) {
    if (memory.bytes(stage, pieces_of_stage(*fastest, shape.stages, stage)) > memory.limit) {
      fail_for_memory(*fastest, shape.stages, memory);
    }
  }
  return *fastest;
}

bool can_cut(const StageCosts& costs, const PartitionShape& shape) {
  const auto blocks = static_cast<std::int64_t>(costs.blocks());
  if (shape.pieces() > blocks) return false;
  const std::optional<std::int64_t> table = trained_table(costs);
  if (!table) return true;
  // A piece of the last stage must reach the table: every piece before and behind it has a block at least.
  for (std::int64_t piece = shape.stages - 1; piece < shape.pieces(); piece += shape.stages) {
    if (piece <= *table && shape.pieces() - piece <= blocks - *table) return true;
  }
  return false;
}

void check_tied_table(const StageCosts& costs, const std::vector<BlockRange>& pieces, int stages) {
  const std::optional<std::int64_t> table = trained_table(costs);
  if (!table) return;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (contains(pieces[i], *table) && (i + 1) % static_cast<std::size_t>(stages) != 0) fail_for_table(stages);
  }
}

std::vector<BlockRange> cut_at(const MultimodalConfig& config, const std::vector<std::string>& first_blocks) {
  std::vector<std::string> names;
  for (const ModelBlock& block : model_blocks(config)) names.push_back(name_of(block));
  const auto blocks = static_cast<std::int64_t>(names.size());
  std::vector<BlockRange> cut{{0, blocks}};
  for (const std::string& first : first_blocks) {
    const std::int64_t begin = std::ranges::find(names, first) - names.begin();
    check(begin < blocks, "the model has no block '{}' to begin a piece; its blocks are: {}", first,
          fmt::join(names, ", "));
    if (begin == 0 && cut.size() == 1 && &first == first_blocks.data()) continue;
    check(begin > cut.back().begin, "a piece begins at {}, which is not behind {}", first,
          names[static_cast<std::size_t>(cut.back().begin)]);
    cut.back().end = begin;
    cut.push_back({begin, blocks});
  }
  return cut;
}

std::vector<BlockRange> manual_cuts(const MultimodalConfig& config, const std::vector<std::string>& first_blocks,
                                    int pieces) {
  std::vector<BlockRange> cut = cut_at(config, first_blocks);
  check(static_cast<int>(cut.size()) == pieces, "the cuts make {} pieces; stages times chunks are {}", cut.size(),
        pieces);
  return cut;
}

std::string name_of(const MultimodalConfig& config, BlockRange piece) {
  const std::vector<ModelBlock> blocks = model_blocks(config);
  const std::string first = name_of(blocks.at(static_cast<std::size_t>(piece.begin)));
  return piece.size() == 1 ? first
                           : fmt::format("{} - {}", first, name_of(blocks.at(static_cast<std::size_t>(piece.end - 1))));
}

std::string partition_table(const MultimodalConfig& config, const StageCosts& costs,
                            const std::vector<BlockRange>& pieces, int stages, double operations) {
  const auto cost_of = [&](std::size_t i) {
    return piece_cost(costs.of(static_cast<int>(i % static_cast<std::size_t>(stages))), pieces[i]);
  };
  double all = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) all += time_of(cost_of(i));
  const auto work = [&](double of) {
    return operations > 0 ? fmt::format("{:.3g} s", of / operations) : fmt::format("{:.1f} %", 100 * of / all);
  };
  std::string table = fmt::format("  {:>5}  {:<26} {:>12} {:>14} {:>9} {:>9} {:>11} {:>11} {:>11}\n", "stage", "blocks",
                                  "trained", "frozen", "forward", "backward", "weights MiB", "kept MiB", "output MiB");
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const BlockCost cost = cost_of(i);
    constexpr double mib = 1024.0 * 1024.0;
    table += fmt::format("  {:>5}  {:<26} {:>12} {:>14} {:>9} {:>9} {:>11.1f} {:>11.2f} {:>11.2f}\n",
                         i % static_cast<std::size_t>(stages), name_of(config, pieces[i]), cost.trained, cost.frozen,
                         work(cost.forward), work(cost.backward + cost.recompute), cost.weights / mib, cost.kept / mib,
                         cost.output / mib);
  }
  return table;
}

}  // namespace skymm
