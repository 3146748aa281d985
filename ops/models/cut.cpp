#include "ops/models/cut.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "core/error.hpp"

namespace skymm {
namespace {

// A ViT whose output is that of its embeddings still has the block that holds them.
std::int64_t count_of(const MultimodalConfig& config, BlockKind kind) {
  switch (kind) {
    case BlockKind::vision:
      return config.vision ? std::max<std::int64_t>(1, config.vision->blocks()) : 0;
    case BlockKind::resampler:
      return config.vision ? 1 : 0;
    case BlockKind::layer:
      return config.decoder.layers;
    default:
      return 1;
  }
}

constexpr std::array kinds{BlockKind::vision, BlockKind::resampler, BlockKind::embedding, BlockKind::layer,
                           BlockKind::head};

// The cut in front of a block: what it is in front of.
ModelBlock behind_cut(const MultimodalConfig& config, std::int64_t block) {
  const std::vector<ModelBlock> blocks = model_blocks(config);
  const auto count = static_cast<std::int64_t>(blocks.size());
  check(block > 0 && block < count, "a model of {} blocks has no cut in front of block {}", count, block);
  return blocks[static_cast<std::size_t>(block)];
}

}  // namespace

std::vector<ModelBlock> model_blocks(const MultimodalConfig& config) {
  std::vector<ModelBlock> blocks;
  for (const BlockKind kind : kinds) {
    for (std::int64_t i = 0; i < count_of(config, kind); ++i) blocks.push_back({kind, i});
  }
  return blocks;
}

std::string name_of(const ModelBlock& block) {
  switch (block.kind) {
    case BlockKind::vision:
      return fmt::format("vision.{}", block.index);
    case BlockKind::resampler:
      return "resampler";
    case BlockKind::embedding:
      return "embedding";
    case BlockKind::layer:
      return fmt::format("layers.{}", block.index);
    case BlockKind::head:
      break;
  }
  return "head";
}

BlockRange all_blocks(const MultimodalConfig& config) {
  BlockRange all;
  for (const BlockKind kind : kinds) all.end += count_of(config, kind);
  return all;
}

std::int64_t first_block(const MultimodalConfig& config, BlockKind kind) {
  std::int64_t first = 0;
  for (std::size_t i = 0; kinds[i] != kind; ++i) first += count_of(config, kinds[i]);
  return first;
}

BlockRange indices_of(const MultimodalConfig& config, BlockKind kind, BlockRange blocks) {
  const std::int64_t first = first_block(config, kind), count = count_of(config, kind);
  return {std::clamp<std::int64_t>(blocks.begin - first, 0, count),
          std::clamp<std::int64_t>(blocks.end - first, 0, count)};
}

std::int64_t block_of(const MultimodalConfig& config, std::string_view parameter) {
  // The number behind `prefix`, where the name begins with it.
  const auto numbered = [&](std::string_view prefix) -> std::optional<std::int64_t> {
    if (!parameter.starts_with(prefix)) return std::nullopt;
    return std::stoll(std::string(parameter.substr(prefix.size())));
  };
  if (const auto i = numbered("vision_model.encoder.layers.")) return *i;
  if (parameter.starts_with("vision_model.")) return 0;  // the embeddings
  if (parameter.starts_with("resampler.")) return first_block(config, BlockKind::resampler);
  if (parameter.starts_with("model.embed_tokens.")) return first_block(config, BlockKind::embedding);
  if (const auto i = numbered("model.layers.")) return first_block(config, BlockKind::layer) + *i;
  const bool head = parameter.starts_with("model.norm.") || parameter.starts_with("lm_head.");
  check(head, "no block of the model has a parameter '{}'", parameter);
  return first_block(config, BlockKind::head);
}

Shape boundary_shape(const MultimodalConfig& config, std::int64_t block, const BatchSizes& sizes) {
  const ModelBlock next = behind_cut(config, block);
  const std::int64_t images = sizes.labels > 0 ? sizes.images : 0, tokens = sizes.labels > 0 ? sizes.tokens : 0;
  switch (next.kind) {
    case BlockKind::vision:
      return {images * (config.features ? config.vision->patches() : config.vision->tokens()), config.vision->width};
    case BlockKind::resampler:
      return {images * config.vision->patches(), config.vision->width};
    case BlockKind::embedding:
      return {images * config.resampler.tokens(*config.vision), config.decoder.width};
    default:
      return {tokens, config.decoder.width};
  }
}

bool gradient_crosses(const MultimodalConfig& config, std::int64_t block, const BatchSizes& sizes) {
  const ModelBlock next = behind_cut(config, block);
  if (sizes.labels == 0) return false;
  const bool pictures = config.vision && sizes.images > 0;
  const bool vision = pictures && config.trainable.vision, tokens = vision || (pictures && config.trainable.resampler);
  if (next.kind == BlockKind::vision || next.kind == BlockKind::resampler) return vision;
  if (next.kind == BlockKind::embedding) return tokens;
  const std::int64_t layers_before = next.kind == BlockKind::head ? config.decoder.layers : next.index;
  return tokens || config.trainable.decoder || (config.lora.rank > 0 && layers_before > 0);
}

}  // namespace skymm
