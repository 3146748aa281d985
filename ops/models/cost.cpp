#include "ops/models/cost.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace skymm {
namespace {

double number(std::int64_t x) { return static_cast<double>(x); }

// Operations of a weight and row: forward, input gradient where `gradient`, weight gradient where `trained`.
double per_weight(bool gradient, bool trained) { return 2.0 + (gradient ? 2.0 : 0.0) + (trained ? 2.0 : 0.0); }

// Attention of one query with `keys` keys over heads of `width` elements in all; its backward is twice the forward.
double attention(double keys, std::int64_t width, bool gradient) {
  return 4.0 * keys * number(width) * (gradient ? 3.0 : 1.0);
}

double vision_cost(const VisionConfig& v, bool trained) {
  const double patch = number(v.patches()) * number(v.width * 3 * v.patch * v.patch) * per_weight(false, trained);
  const double weights = number(4 * v.width * v.width + 2 * v.width * v.ffn);
  const double token = weights * per_weight(trained, trained) + attention(number(v.tokens()), v.width, trained);
  return patch + number(v.blocks()) * number(v.tokens()) * token;
}

double resampler_cost(const MultimodalConfig& config, bool trained, bool gradient) {
  const ResamplerConfig& r = config.resampler;
  const VisionConfig& v = *config.vision;
  const double patches = number(v.patches()), queries = number(r.queries), out = number(config.decoder.width);
  const double in = number(v.width), linear = per_weight(trained, trained), first = per_weight(gradient, trained);
  if (r.kind == ResamplerKind::linear) return patches * in * out * first;
  if (r.kind == ResamplerKind::mlp) return patches * (in * out * first + out * out * linear);
  if (r.kind == ResamplerKind::qwen) {
    return patches * (in * out * first + 2 * out * out * linear) + queries * 2 * out * out * linear +
           out * out * linear + queries * attention(patches, config.decoder.width, trained);
  }
  const double inner = number(r.heads * r.head_width);
  const double layer = patches * 2 * in * inner * first + queries * (4 * in * inner + 8 * in * in) * linear +
                       queries * attention(patches + queries, r.heads * r.head_width, trained);
  return number(r.depth) * layer + queries * in * out * linear;
}

// Weights that LoRA adds to a block.
double lora_weights(const DecoderConfig& d, const LoraOptions& lora) {
  struct Target {
    std::string_view name;
    std::int64_t in, out;
  };
  const std::int64_t q = d.heads * d.head_width, kv = d.kv_heads * d.head_width;
  const std::array<Target, 7> targets{{{"q_proj", d.width, q},
                                       {"k_proj", d.width, kv},
                                       {"v_proj", d.width, kv},
                                       {"o_proj", q, d.width},
                                       {"gate_proj", d.width, d.ffn},
                                       {"up_proj", d.width, d.ffn},
                                       {"down_proj", d.ffn, d.width}}};
  double weights = 0;
  for (const Target& target : targets) {
    const bool chosen = lora.targets.empty() || std::ranges::find(lora.targets, target.name) != lora.targets.end();
    if (chosen) weights += number(lora.rank) * number(target.in + target.out);
  }
  return weights;
}

}  // namespace

StepCost step_cost(const MultimodalConfig& config, const StepCounts& counts) {
  const DecoderConfig& d = config.decoder;
  const TrainableParts& trained = config.trainable;
  StepCost cost;
  if (config.vision) {
    cost.vision = number(counts.images) * vision_cost(*config.vision, trained.vision);
    cost.resampler =
        number(counts.resampled) * resampler_cost(config, trained.resampler || trained.vision, trained.vision);
  }
  const bool gradient = trained.decoder || config.lora.rank > 0 ||
                        (config.vision && counts.resampled > 0 && (trained.resampler || trained.vision));
  const double block = number(d.width * d.head_width * (2 * d.heads + 2 * d.kv_heads) + 3 * d.width * d.ffn);
  const double lora = config.lora.rank > 0 ? lora_weights(d, config.lora) : 0.0;
  const double token = block * per_weight(gradient, trained.decoder) + 6.0 * lora +
                       attention(counts.mean_length / 2, d.heads * d.head_width, gradient);
  cost.decoder = number(d.layers) * number(counts.tokens) * token;
  cost.head = number(counts.labels) * number(d.width * d.vocabulary) * per_weight(gradient, trained.decoder);
  return cost;
}

}  // namespace skymm
