#include "ops/models/lvm.hpp"

#include "core/error.hpp"
#include "ops/functions/activation.hpp"
#include "ops/functions/loss.hpp"
#include "ops/functions/norm.hpp"
#include "ops/functions/rows.hpp"
#include "ops/layers/init.hpp"
#include "ops/layers/norm.hpp"

namespace skymm {
namespace {

// [groups, total]: row g has 1 / length over the columns of group g. Means of rows as one small product.
Tensor mean_matrix(std::span<const std::int32_t> offsets, DType dtype) {
  const auto groups = static_cast<std::int64_t>(offsets.size()) - 1;
  const std::int64_t total = offsets.back();
  std::vector<float> matrix(static_cast<std::size_t>(groups * total), 0.0F);
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int32_t length = offsets[g + 1] - offsets[g];
    for (std::int32_t i = offsets[g]; i < offsets[g + 1]; ++i) {
      matrix[static_cast<std::size_t>(g * total + i)] = 1.0F / static_cast<float>(length);
    }
  }
  return Tensor::from(matrix, {groups, total}).to(dtype);
}

std::vector<std::int32_t> even_offsets(std::int64_t groups, std::int64_t length) {
  std::vector<std::int32_t> offsets;
  for (std::int64_t g = 0; g <= groups; ++g) offsets.push_back(static_cast<std::int32_t>(g * length));
  return offsets;
}

}  // namespace

Lvm::Lvm(const LvmConfig& config, DType dtype, std::uint64_t seed)
    : config_(config),
      dtype_(dtype),
      vision_(std::make_unique<VisionTransformer>(config.vision, dtype, cpu())),
      token_table_(make_parameter({config.vocab, config.text_width}, dtype, cpu())),
      text_up_(config.text_width, {{"text_up", 2 * config.text_width}}, true, dtype, cpu()),
      text_down_(2 * config.text_width, {{"text_down", config.embedding}}, true, dtype, cpu()),
      image_projection_(config.vision.width, {{"image_projection", config.embedding}}, false, dtype, cpu()),
      patch_projection_(config.vision.width, {{"patch_projection", config.embedding}}, false, dtype, cpu()) {
  initialize(*this, seed);
}

void Lvm::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  vision_->visit(qualified(prefix, "vision_model"), visitor);
  visitor(qualified(prefix, "text_embeddings.weight"), token_table_);
  for (Linear* linear : {&text_up_, &text_down_, &image_projection_, &patch_projection_})
    linear->visit(prefix, visitor);
}

Variable Lvm::patches(Graph& graph, const Tensor& pixels) { return vision_->forward(graph, pixels); }

Variable Lvm::image_embedding(const Variable& patches) {
  const std::int64_t per_image = config_.vision.patches();
  const std::int64_t images = patches.value().dim(0) / per_image;
  const Variable mean = mix_rows(mean_matrix(even_offsets(images, per_image), dtype_), patches);
  return l2_normalize(image_projection_.forward(mean, {}));
}

Variable Lvm::patch_embedding(const Variable& patches) { return l2_normalize(patch_projection_.forward(patches, {})); }

Variable Lvm::text_embedding(Graph& graph, const TextBatch& texts) {
  for (std::int64_t i = 0; i < texts.size(); ++i) {
    check(texts.offsets[i] < texts.offsets[i + 1], "text {} of the batch has no tokens", i);
  }
  const Tensor ids = Tensor::from(texts.tokens, {static_cast<std::int64_t>(texts.tokens.size())});
  const Variable mean = mix_rows(mean_matrix(texts.offsets, dtype_), embedding(graph, token_table_, ids));
  return l2_normalize(text_down_.forward(activation(text_up_.forward(mean, {}), Activation::gelu), {}));
}

Variable contrastive_loss(const Variable& a, const Variable& b, float scale, float weight) {
  std::vector<std::int32_t> own(static_cast<std::size_t>(a.value().dim(0)));
  for (std::size_t i = 0; i < own.size(); ++i) own[i] = static_cast<std::int32_t>(i);
  const Tensor labels = Tensor::from(own, {a.value().dim(0)});
  return add(cross_entropy(matmul_transposed(a, b, scale), labels, weight),
             cross_entropy(matmul_transposed(b, a, scale), labels, weight));
}

Variable name_loss(const Variable& patches, const Variable& names, const Tensor& labels, float scale, float weight) {
  return cross_entropy(matmul_transposed(patches, names, scale), labels, weight);
}

}  // namespace skymm
