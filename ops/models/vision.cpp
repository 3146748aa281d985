#include "ops/models/vision.hpp"

#include "core/error.hpp"
#include "core/trace.hpp"
#include "ops/functions/rows.hpp"

namespace skymm {
namespace {

// Row numbers in [images, tokens] of the tokens [first, first + count) of each image.
Tensor rows_of(std::int64_t images, std::int64_t tokens, std::int64_t first, std::int64_t count, Device& device) {
  std::vector<std::int32_t> rows;
  for (std::int64_t image = 0; image < images; ++image) {
    for (std::int64_t i = 0; i < count; ++i) rows.push_back(static_cast<std::int32_t>(image * tokens + first + i));
  }
  return Tensor::from(rows, {images * count}, device);
}

}  // namespace

VisionEmbeddings::VisionEmbeddings(const VisionConfig& config, DType dtype, Device& device)
    : config_(config),
      position_embedding_(make_parameter({config.tokens(), config.width}, dtype, device)),
      patch_embedding_(3 * config.patch * config.patch,
                       {{"patch_embedding", config.width, {config.width, 3, config.patch, config.patch}}},
                       config.patch_bias, dtype, device) {
  check(config.image >= config.patch, "an image of {} pixels has no patch of {}", config.image, config.patch);
  if (config.class_token) class_embedding_ = make_parameter({config.width}, dtype, device);
  if (config.pre_norm) pre_norm_ = std::make_unique<LayerNorm>(config.width, config.eps, dtype, device);
}

Variable VisionEmbeddings::forward(const Variable& input) {
  const Tensor& pixels = input.value();
  check(pixels.rank() == 4 && pixels.dim(1) == 3 && pixels.dim(2) == config_.image && pixels.dim(3) == config_.image,
        "the ViT wants pixels [images, 3, {0}, {0}]; got {1}", config_.image, pixels.shape());
  Graph& graph = input.graph();
  const std::int64_t images = pixels.dim(0), patches = config_.patches(), tokens = config_.tokens();
  // Pixels to the right and below that fill no patch are left out: SigLIP's towers of 384 have patches of 14.
  const std::int64_t side = config_.grid() * config_.patch;
  const Tensor whole = pixels.slice(2, 0, side).slice(3, 0, side);
  Variable x = patch_embedding_.forward_patches(graph.constant(whole), config_.patch, {});
  if (config_.class_token) {
    x = spread_rows(x, rows_of(images, tokens, 1, patches, pixels.device()), images * tokens);
    const Tensor first = rows_of(images, tokens, 0, 1, pixels.device());
    x = splice(x, repeat_rows(use(graph, class_embedding_, {1, config_.width}), images), first);
  }
  x = add_rows(x, position_embedding_);
  return pre_norm_ ? pre_norm_->forward(x) : x;
}

void VisionEmbeddings::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  const std::string embeddings = qualified(prefix, "embeddings");
  if (config_.class_token) visitor(embeddings + ".class_embedding", class_embedding_);
  patch_embedding_.visit(embeddings, visitor);
  visitor(embeddings + ".position_embedding.weight", position_embedding_);
  if (pre_norm_) pre_norm_->visit(qualified(prefix, "pre_layrnorm"), visitor);  // the typo is the field's
}

VisionTransformer::VisionTransformer(const VisionConfig& config, DType dtype, Device& device)
    : VisionTransformer(config, dtype, device, {{0, std::max<std::int64_t>(1, config.blocks())}}) {}

VisionTransformer::VisionTransformer(const VisionConfig& config, DType dtype, Device& device,
                                     const std::vector<BlockRange>& held,
                                     const std::optional<Quantization>& quantization)
    : config_(config), blocks_(static_cast<std::size_t>(config.blocks())) {
  const VisionBlockOptions block{config.width, config.heads, config.ffn, config.eps, config.activation};
  for (const auto [begin, end] : held) {
    if (begin == 0 && end > 0) {
      embeddings_ = std::make_unique<VisionEmbeddings>(config, dtype, device);
      if (quantization) embeddings_->quantize(*quantization);
    }
    for (std::int64_t i = begin; i < std::min(end, config.blocks()); ++i) {
      blocks_[static_cast<std::size_t>(i)] = std::make_unique<VisionBlock>(block, dtype, device);
      if (quantization) blocks_[static_cast<std::size_t>(i)]->quantize(*quantization);
    }
  }
}

Variable VisionTransformer::run(BlockRange range, const Variable& input) {
  const TraceSpan span("vision");
  Variable x = input;
  if (range.begin == 0) {
    check(embeddings_ != nullptr, "the embeddings of the ViT are not held here");
    x = embeddings_->forward(input);
  }
  Device& device = x.value().device();
  const std::int64_t tokens = config_.tokens(), images = x.value().dim(0) / tokens;
  Context context;
  const Tensor offsets = uniform_offsets(images, tokens, device);
  context.attention = {.query_offsets = offsets, .key_offsets = offsets, .max_queries = tokens, .max_keys = tokens};
  for (std::int64_t i = range.begin; i < std::min(range.end, config_.blocks()); ++i) {
    VisionBlock* const block = blocks_.at(static_cast<std::size_t>(i)).get();
    check(block != nullptr, "block {} of the ViT is not held here", i);
    x = block->forward(x, context);
  }
  if (!config_.class_token || range.end < blocks().end) return x;
  return gather_rows(x, rows_of(images, tokens, 1, config_.patches(), device));
}

void VisionTransformer::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  if (embeddings_) embeddings_->visit(prefix, visitor);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i]) blocks_[i]->visit(qualified(prefix, fmt::format("encoder.layers.{}", i)), visitor);
  }
}

void VisionTransformer::freeze(BlockRange blocks, Packing packing) {
  if (blocks.begin == 0 && blocks.end > 0) embeddings_->freeze(packing);
  for (std::int64_t i = blocks.begin; i < std::min(blocks.end, config_.blocks()); ++i) {
    blocks_.at(static_cast<std::size_t>(i))->freeze(packing);
  }
}

}  // namespace skymm
