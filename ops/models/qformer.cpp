#include "ops/models/qformer.hpp"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "ops/functions/attention.hpp"
#include "ops/functions/rows.hpp"
#include "ops/layers/attention.hpp"
#include "ops/layers/norm.hpp"

namespace skymm {
namespace {

constexpr float eps = 1e-12F;  // BERT's

// Attention with its residual connection, which norms after the sum.
class PostNormAttention final : public Module {
 public:
  PostNormAttention(std::int64_t width, std::int64_t source_width, const HeadCounts& heads, DType dtype, Device& device)
      : heads_(heads),
        query_(width, {{"query", width}}, true, dtype, device),
        key_value_(source_width, {{"key", width}, {"value", width}}, true, dtype, device),
        out_(width, {{"dense", width}}, true, dtype, device),
        norm_(width, eps, dtype, device) {}

  // x [images * queries, width], source [images * keys, source width].
  Variable forward(const Variable& x, const Variable& source, const AttentionShape& shape) {
    const Variable seen = cross_attention(query_.forward(x, {}), key_value_.forward(source, {}), heads_, shape);
    return norm_.forward(out_.add_to(x, seen, {}));
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    query_.visit(prefix + ".attention", visitor);
    key_value_.visit(prefix + ".attention", visitor);
    out_.visit(prefix + ".output", visitor);
    norm_.visit(prefix + ".output.LayerNorm", visitor);
  }

 private:
  HeadCounts heads_;
  Linear query_, key_value_, out_;
  LayerNorm norm_;
};

struct QFormerLayer {
  QFormerLayer(std::int64_t width, const HeadCounts& heads, DType dtype, Device& device)
      : self(width, width, heads, dtype, device),
        up(width, {{"dense", 4 * width}}, true, dtype, device),
        down(4 * width, {{"dense", width}}, true, dtype, device),
        norm(width, eps, dtype, device) {}

  PostNormAttention self;
  std::unique_ptr<PostNormAttention> cross;  // in every second layer
  Linear up, down;
  LayerNorm norm;
};

class QFormer final : public Resampler {
 public:
  QFormer(const ResamplerConfig& config, const VisionConfig& vision, std::int64_t decoder_width, DType dtype,
          Device& device)
      : queries_(config.queries),
        patches_(vision.patches()),
        heads_{config.heads, config.heads, config.head_width},
        query_tokens_(make_parameter({config.queries, config.heads * config.head_width}, dtype, device)),
        vision_norm_(vision.width, 1e-5F, dtype, device),
        query_norm_(config.heads * config.head_width, eps, dtype, device),
        projection_(config.heads * config.head_width, {{"language_projection", decoder_width}}, true, dtype, device) {
    const std::int64_t width = config.heads * config.head_width;
    for (std::int64_t i = 0; i < config.depth; ++i) {
      layers_.push_back(std::make_unique<QFormerLayer>(width, heads_, dtype, device));
      if (i % 2 == 0) {
        layers_.back()->cross = std::make_unique<PostNormAttention>(width, vision.width, heads_, dtype, device);
      }
    }
  }

  Variable forward(const Variable& features, std::int64_t images) override {
    Device& device = features.value().device();
    const float scale = 1.0F / std::sqrt(static_cast<float>(heads_.width));
    const AttentionShape among = CrossAttentionShape{images, queries_, queries_}.shape(scale, device),
                         across = CrossAttentionShape{images, queries_, patches_}.shape(scale, device);
    const Variable patches = vision_norm_.forward(features);
    const Variable queries = query_norm_.forward(use(features.graph(), query_tokens_, query_tokens_.shape));
    Variable x = repeat_rows(queries, images);
    for (const auto& layer : layers_) {
      x = layer->self.forward(x, x, among);
      if (layer->cross) x = layer->cross->forward(x, patches, across);
      x = layer->norm.forward(layer->down.add_to(x, layer->up.forward(x, {}, Activation::gelu), {}));
    }
    return projection_.forward(x, {});
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "query_tokens"), query_tokens_);
    vision_norm_.visit(qualified(prefix, "ln_vision"), visitor);
    query_norm_.visit(qualified(prefix, "layernorm"), visitor);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const std::string name = qualified(prefix, fmt::format("encoder.layer.{}", i));
      QFormerLayer& layer = *layers_[i];
      layer.self.visit(name + ".attention", visitor);
      if (layer.cross) layer.cross->visit(name + ".crossattention", visitor);
      layer.up.visit(name + ".intermediate_query", visitor);
      layer.down.visit(name + ".output_query", visitor);
      layer.norm.visit(name + ".output_query.LayerNorm", visitor);
    }
    projection_.visit(prefix, visitor);
  }

 private:
  std::int64_t queries_, patches_;
  HeadCounts heads_;
  Parameter query_tokens_;
  LayerNorm vision_norm_, query_norm_;
  std::vector<std::unique_ptr<QFormerLayer>> layers_;
  Linear projection_;
};

}  // namespace

std::unique_ptr<Resampler> make_qformer(const ResamplerConfig& config, const VisionConfig& vision,
                                        std::int64_t decoder_width, DType dtype, Device& device) {
  return std::make_unique<QFormer>(config, vision, decoder_width, dtype, device);
}

}  // namespace skymm
