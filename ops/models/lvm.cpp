#include "ops/models/lvm.hpp"

#include <numeric>

#include "core/error.hpp"
#include "ops/functions/activation.hpp"
#include "ops/functions/linear.hpp"
#include "ops/functions/loss.hpp"
#include "ops/functions/norm.hpp"
#include "ops/functions/rows.hpp"

namespace skymm {
namespace {

Tensor row_range(std::int64_t first, std::int64_t count, Device& device) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), static_cast<std::int32_t>(first));
  return Tensor::from(rows, {count}, device);
}

// The batch's rows with one's own, through which gradients pass, in their place.
Variable with_own_rows(const Variable& own, const Tensor& all, std::int64_t first) {
  if (!all.defined()) return own;
  const std::int64_t count = own.value().dim(0);
  check(first >= 0 && first + count <= all.dim(0), "own rows [{}, {}) are not among the {} gathered ones", first,
        first + count, all.dim(0));
  return splice(own.graph().constant(all.clone()), own, row_range(first, count, all.device()));
}

// [groups, groups * size]: means of `size` rows each.
Tensor mean_matrix(const std::vector<std::int64_t>& sizes, DType dtype, Device& device) {
  const std::int64_t rows = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  const auto groups = static_cast<std::int64_t>(sizes.size());
  std::vector<float> matrix(static_cast<std::size_t>(groups * rows));
  std::int64_t column = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t size = sizes[static_cast<std::size_t>(g)];
    for (std::int64_t i = 0; i < size; ++i) {
      matrix[static_cast<std::size_t>(g * rows + column++)] = 1.0F / static_cast<float>(size);
    }
  }
  return Tensor::from(matrix, {groups, rows}, device).to(dtype);
}

}  // namespace

TextBatch make_text_batch(const std::vector<std::vector<std::int32_t>>& texts, DType dtype, Device& device) {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> sizes;
  for (const auto& text : texts) {
    check(!text.empty(), "text {} has no tokens", sizes.size());
    tokens.insert(tokens.end(), text.begin(), text.end());
    sizes.push_back(static_cast<std::int64_t>(text.size()));
  }
  return {Tensor::from(tokens, {static_cast<std::int64_t>(tokens.size())}, device), mean_matrix(sizes, dtype, device)};
}

Lvm::Lvm(const LvmConfig& config, DType dtype, Device& device)
    : config_(config),
      vision_(config.vision, dtype, device),
      vision_norm_(config.vision.width, config.vision.eps, dtype, device),
      image_projection_(config.vision.width, {{"image_projection", config.embedding}}, false, dtype, device),
      patch_projection_(config.vision.width, {{"patch_projection", config.embedding}}, false, dtype, device),
      token_embedding_(make_parameter({config.vocabulary, config.text_width}, dtype, device)),
      fc1_(config.text_width, {{"fc1", 2 * config.text_width}}, true, dtype, device),
      fc2_(2 * config.text_width, {{"fc2", config.embedding}}, true, dtype, device) {
  Lvm::visit("", [](const std::string&, Parameter& parameter) { parameter.trainable = true; });
}

Variable Lvm::features(Graph& graph, const Tensor& pixels) { return vision_.forward(graph, pixels); }

Variable Lvm::patch_embedding(const Variable& features) {
  return l2_normalize(patch_projection_.forward(vision_norm_.forward(features), {}));
}

Variable Lvm::image_embedding(const Variable& features) {
  const Tensor& x = features.value();
  const std::int64_t patches = config_.vision.patches();
  const std::vector<std::int64_t> sizes(static_cast<std::size_t>(x.dim(0) / patches), patches);
  const Variable mean = mix_rows(mean_matrix(sizes, x.dtype(), x.device()), vision_norm_.forward(features));
  return l2_normalize(image_projection_.forward(mean, {}));
}

Variable Lvm::text_embedding(Graph& graph, const TextBatch& texts) {
  const Variable mean = mix_rows(texts.means, embedding(graph, token_embedding_, texts.tokens));
  return l2_normalize(fc2_.forward(fc1_.forward(mean, {}, Activation::gelu), {}));
}

void Lvm::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  vision_.visit(qualified(prefix, "vision_model"), visitor);
  vision_norm_.visit(qualified(prefix, "vision_norm"), visitor);
  image_projection_.visit(prefix, visitor);
  patch_projection_.visit(prefix, visitor);
  visitor(qualified(prefix, "text_model.token_embedding.weight"), token_embedding_);
  fc1_.visit(qualified(prefix, "text_model"), visitor);
  fc2_.visit(qualified(prefix, "text_model"), visitor);
}

Variable contrastive_loss(const Variable& images, const Variable& texts, float scale, const Gathered& gathered) {
  const Variable all_images = with_own_rows(images, gathered.images, gathered.first);
  const Variable all_texts = with_own_rows(texts, gathered.texts, gathered.first);
  const std::int64_t batch = all_images.value().dim(0);
  check(batch == all_texts.value().dim(0), "the contrast got {} images and {} texts", batch, all_texts.value().dim(0));
  const Tensor labels = row_range(0, batch, all_images.value().device());
  return add(cross_entropy(matmul_transposed(all_images, all_texts, scale), labels, 0.5F),
             cross_entropy(matmul_transposed(all_texts, all_images, scale), labels, 0.5F));
}

Variable patch_name_loss(const Variable& patches, const Variable& texts, const Tensor& names, float scale) {
  return cross_entropy(matmul_transposed(patches, texts, scale), names);
}

}  // namespace skymm
