#include "ops/models/resampler.hpp"

#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "ops/functions/activation.hpp"
#include "ops/functions/attention.hpp"
#include "ops/functions/linear.hpp"
#include "ops/functions/rows.hpp"
#include "ops/layers/attention.hpp"
#include "ops/layers/norm.hpp"
#include "ops/models/positions.hpp"
#include "ops/models/qformer.hpp"

namespace skymm {
namespace {

class QwenResampler final : public Resampler {
 public:
  QwenResampler(const ResamplerConfig& config, const VisionConfig& vision, std::int64_t width, DType dtype,
                Device& device)
      : width_(width),
        patches_(vision.patches()),
        queries_(config.queries),
        heads_{config.heads, config.heads, width / config.heads},
        query_(make_parameter({config.queries, width}, dtype, device)),
        in_weight_(make_parameter({3 * width, width}, dtype, device)),
        in_bias_(make_parameter({3 * width}, dtype, device)),
        projection_(make_parameter({width, width}, dtype, device)),
        kv_projection_(vision.width, {{"kv_proj", width}}, false, dtype, device),
        out_projection_(width, {{"out_proj", width}}, true, dtype, device),
        query_norm_(width, 1e-6F, dtype, device),
        kv_norm_(width, 1e-6F, dtype, device),
        post_norm_(width, 1e-6F, dtype, device) {
    const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(config.queries))));
    check(side * side == config.queries, "the qwen resampler needs a square number of queries; got {}", config.queries);
    check(width % config.heads == 0, "the qwen resampler's width {} does not divide into {} heads", width,
          config.heads);
    if (config.positions) {
      const auto table = [&](std::int64_t grid) {
        return Tensor::from(resized_sincos_2d(side, grid, width), {grid * grid, width}, device).to(dtype);
      };
      query_positions_ = table(side);
      key_positions_ = table(vision.grid());
    }
    for (std::int64_t i = 0; i < 3; ++i) {
      in_maps_.push_back(
          kernels(device).make_linear_weight(in_weight_.value.slice(0, i * width, (i + 1) * width), Packing::none));
    }
  }

  Variable forward(const Variable& features, std::int64_t images) override {
    Graph& graph = features.graph();
    const Variable x = kv_norm_.forward(kv_projection_.forward(features, {}));
    const Variable query = query_norm_.forward(use(graph, query_, query_.shape));
    const Variable q = repeat_rows(project(placed(query, query_positions_), 0), images);
    const Variable k = project(placed(x, key_positions_), 1);
    const Variable v = project(x, 2);
    const float scale = 1.0F / std::sqrt(static_cast<float>(heads_.width));
    const AttentionShape shape =
        CrossAttentionShape{images, queries_, patches_}.shape(scale, features.value().device());
    const Variable out = out_projection_.forward(cross_attention(q, k, v, heads_, shape), {});
    return matmul(post_norm_.forward(out), projection_);
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "query"), query_);
    kv_projection_.visit(prefix, visitor);
    visitor(qualified(prefix, "attn.in_proj_weight"), in_weight_);
    visitor(qualified(prefix, "attn.in_proj_bias"), in_bias_);
    out_projection_.visit(qualified(prefix, "attn"), visitor);
    query_norm_.visit(qualified(prefix, "ln_q"), visitor);
    kv_norm_.visit(qualified(prefix, "ln_kv"), visitor);
    post_norm_.visit(qualified(prefix, "ln_post"), visitor);
    visitor(qualified(prefix, "proj"), projection_);
  }

 private:
  static Variable placed(const Variable& x, const Tensor& positions) {
    return positions.defined() ? add_rows(x, positions) : x;
  }

  // With the i-th third of the rows of attn.in_proj: queries, keys, values.
  Variable project(const Variable& x, std::int64_t i) {
    LinearMaps maps;
    maps.weight = in_maps_[static_cast<std::size_t>(i)];
    maps.bias = in_bias_.value.slice(0, i * width_, (i + 1) * width_);
    maps.terms.push_back({.out = width_, .weight = &in_weight_, .bias = &in_bias_, .first_row = i * width_});
    return linear(x, maps);
  }

  std::int64_t width_, patches_, queries_;
  HeadCounts heads_;
  Parameter query_, in_weight_, in_bias_, projection_;
  Linear kv_projection_, out_projection_;
  LayerNorm query_norm_, kv_norm_, post_norm_;
  Tensor query_positions_, key_positions_;  // undefined without positions
  std::vector<LinearWeightPtr> in_maps_;
};

struct PerceiverLayer {
  PerceiverLayer(const ResamplerConfig& config, std::int64_t width, DType dtype, Device& device)
      : media_norm(width, 1e-5F, dtype, device),
        latent_norm(width, 1e-5F, dtype, device),
        feed_forward_norm(width, 1e-5F, dtype, device),
        to_q(width, {{"to_q", config.heads * config.head_width}}, false, dtype, device),
        to_kv(width, {{"to_kv", 2 * config.heads * config.head_width}}, false, dtype, device),
        to_out(config.heads * config.head_width, {{"to_out", width}}, false, dtype, device),
        up(width, {{"up", 4 * width}}, false, dtype, device),
        down(4 * width, {{"down", width}}, false, dtype, device) {}

  LayerNorm media_norm, latent_norm, feed_forward_norm;
  Linear to_q, to_kv, to_out, up, down;
};

class PerceiverResampler final : public Resampler {
 public:
  PerceiverResampler(const ResamplerConfig& config, const VisionConfig& vision, std::int64_t decoder_width, DType dtype,
                     Device& device)
      : latents_(config.queries),
        patches_(vision.patches()),
        heads_{config.heads, config.heads, config.head_width},
        latents_parameter_(make_parameter({config.queries, vision.width}, dtype, device)),
        norm_(vision.width, 1e-5F, dtype, device),
        projection_(vision.width, {{"projection", decoder_width}}, false, dtype, device) {
    for (std::int64_t i = 0; i < config.depth; ++i) {
      layers_.push_back(std::make_unique<PerceiverLayer>(config, vision.width, dtype, device));
    }
  }

  Variable forward(const Variable& features, std::int64_t images) override {
    Device& device = features.value().device();
    const std::int64_t keys = patches_ + latents_;
    const Tensor media_rows = rows_of(images, 0, patches_, device);
    const Tensor latent_rows = rows_of(images, patches_, latents_, device);
    const float scale = 1.0F / std::sqrt(static_cast<float>(heads_.width));
    const AttentionShape shape = CrossAttentionShape{images, latents_, keys}.shape(scale, device);

    Variable x = repeat_rows(use(features.graph(), latents_parameter_, latents_parameter_.shape), images);
    for (const auto& layer : layers_) {
      const Variable latents = layer->latent_norm.forward(x);
      const Variable media = spread_rows(layer->media_norm.forward(features), media_rows, images * keys);
      const Variable kv = layer->to_kv.forward(splice(media, latents, latent_rows), {});
      x = layer->to_out.add_to(x, cross_attention(layer->to_q.forward(latents, {}), kv, heads_, shape), {});
      const Variable hidden = layer->up.forward(layer->feed_forward_norm.forward(x), {}, Activation::gelu);
      x = layer->down.add_to(x, hidden, {});
    }
    return projection_.forward(norm_.forward(x), {});
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    visitor(qualified(prefix, "latents"), latents_parameter_);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      PerceiverLayer& layer = *layers_[i];
      const std::string attention = qualified(prefix, fmt::format("layers.{}.attention", i));
      const std::string feed_forward = qualified(prefix, fmt::format("layers.{}.feed_forward", i));
      layer.media_norm.visit(attention + ".norm_media", visitor);
      layer.latent_norm.visit(attention + ".norm_latents", visitor);
      for (Linear* map : {&layer.to_q, &layer.to_kv, &layer.to_out}) map->visit(attention, visitor);
      layer.feed_forward_norm.visit(feed_forward + ".norm", visitor);
      for (Linear* map : {&layer.up, &layer.down}) map->visit(feed_forward, visitor);
    }
    norm_.visit(qualified(prefix, "norm"), visitor);
    projection_.visit(prefix, visitor);
  }

 private:
  // Of the tokens [first, first + count) of each image, where an image has its patches and then its latents.
  Tensor rows_of(std::int64_t images, std::int64_t first, std::int64_t count, Device& device) const {
    std::vector<std::int32_t> rows;
    for (std::int64_t image = 0; image < images; ++image) {
      for (std::int64_t i = 0; i < count; ++i) {
        rows.push_back(static_cast<std::int32_t>(image * (patches_ + latents_) + first + i));
      }
    }
    return Tensor::from(rows, {images * count}, device);
  }

  std::int64_t latents_, patches_;
  HeadCounts heads_;
  Parameter latents_parameter_;
  std::vector<std::unique_ptr<PerceiverLayer>> layers_;
  LayerNorm norm_;
  Linear projection_;
};

// One linear map, or two with a GELU between.
class Projector final : public Resampler {
 public:
  Projector(bool mlp, std::int64_t in, std::int64_t out, DType dtype, Device& device)
      : first_(in, {{mlp ? "linear_1" : "linear", out}}, true, dtype, device) {
    if (mlp) second_ = std::make_unique<Linear>(out, std::vector<Linear::Part>{{"linear_2", out}}, true, dtype, device);
  }

  Variable forward(const Variable& features, std::int64_t) override {
    if (!second_) return first_.forward(features, {});
    return second_->forward(first_.forward(features, {}, Activation::gelu), {});
  }

  void visit(const std::string& prefix, const ParameterVisitor& visitor) override {
    first_.visit(prefix, visitor);
    if (second_) second_->visit(prefix, visitor);
  }

 private:
  Linear first_;
  std::unique_ptr<Linear> second_;
};

}  // namespace

std::unique_ptr<Resampler> make_resampler(const ResamplerConfig& config, const VisionConfig& vision,
                                          std::int64_t decoder_width, DType dtype, Device& device) {
  if (config.kind == ResamplerKind::qwen) {
    return std::make_unique<QwenResampler>(config, vision, decoder_width, dtype, device);
  }
  if (config.kind == ResamplerKind::perceiver) {
    return std::make_unique<PerceiverResampler>(config, vision, decoder_width, dtype, device);
  }
  if (config.kind == ResamplerKind::qformer) return make_qformer(config, vision, decoder_width, dtype, device);
  return std::make_unique<Projector>(config.kind == ResamplerKind::mlp, vision.width, decoder_width, dtype, device);
}

}  // namespace skymm
