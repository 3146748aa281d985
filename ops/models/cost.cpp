#include "ops/models/cost.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace skymm {
namespace {

double number(std::int64_t x) { return static_cast<double>(x); }

// Work and memory add up over the maps and functions of a block, token by token.
struct Flow {
  bool gradient = false;  // of activations
  BlockCost cost;

  // `weights` multiply each of `rows`.
  void linear(double rows, double weights, bool trained, bool input_gradient) {
    cost.forward += 2 * rows * weights;
    cost.backward += 2 * rows * weights * ((input_gradient ? 1 : 0) + (trained ? 1 : 0));
    if (trained) cost.weight_gradient += 2 * rows * weights;
  }
  void linear(double rows, double weights, bool trained) { linear(rows, weights, trained, gradient); }
  // Each of `rows` queries sees `keys` keys over heads of `width` elements in all.
  void attention(double rows, double keys, std::int64_t width) {
    const double forward = 4 * rows * keys * number(width);
    cost.forward += forward;
    if (gradient) cost.backward += 2 * forward;
  }
};

// LoRA on the maps of a decoder's layer that share an input.
struct LoraMaps {
  std::int64_t ranks = 0, parameters = 0;  // sums over the maps that have it
};

struct Map {
  std::string_view name;
  std::int64_t out;
};

LoraMaps lora_of(const LoraOptions& lora, std::int64_t in, std::initializer_list<Map> maps) {
  LoraMaps sum;
  for (const Map& map : maps) {
    const bool chosen = lora.targets.empty() || std::ranges::find(lora.targets, map.name) != lora.targets.end();
    if (lora.rank == 0 || !chosen) continue;
    sum.ranks += lora.rank;
    sum.parameters += lora.rank * (in + map.out);
  }
  return sum;
}

// Bytes of a frozen linear weight: in few bits, where the model keeps it so, else `plain`. Rows of whole blocks are
// taken for granted, and int8's one scale a row is left out.
double frozen_bytes(const MultimodalConfig& config, double weights, double plain) {
  if (!config.quantization) return plain;
  if (config.quantization->format == QuantizedFormat::int8) return weights;
  const double scale = config.quantization->double_quantization ? 1 + 4 / number(scale_group) : 4;
  return weights * (0.5 + scale / number(nf4_block));
}

BlockCost layer_cost(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form,
                     bool gradient_in) {
  const DecoderConfig& d = config.decoder;
  const std::int64_t q = d.heads * d.head_width, kv = d.kv_heads * d.head_width;
  const bool trained = config.trainable.decoder;
  const Recompute mode = config.recompute;
  const LoraMaps qkv = lora_of(config.lora, d.width, {{"q_proj", q}, {"k_proj", kv}, {"v_proj", kv}}),
                 out = lora_of(config.lora, q, {{"o_proj", d.width}}),
                 gate_up = lora_of(config.lora, d.width, {{"gate_proj", d.ffn}, {"up_proj", d.ffn}}),
                 down = lora_of(config.lora, d.ffn, {{"down_proj", d.width}});
  const std::int64_t lora = qkv.parameters + out.parameters + gate_up.parameters + down.parameters;
  const std::int64_t weights = d.width * (2 * q + 2 * kv + 3 * d.ffn);
  const double e = number(static_cast<std::int64_t>(size_of(form.dtype))), tokens = number(counts.tokens);

  Flow flow{.gradient = gradient_in || trained || lora > 0};
  flow.linear(tokens, number(2 * d.width * (q + kv)), trained);
  flow.linear(tokens, number(qkv.parameters + out.parameters), true);
  flow.attention(tokens, counts.mean_length / 2, q);
  const double attention_work = flow.cost.forward;
  flow.linear(tokens, number(3 * d.width * d.ffn), trained);
  flow.linear(tokens, number(gate_up.parameters + down.parameters), true);
  BlockCost cost = flow.cost;
  const std::int64_t base = weights + 2 * d.width;
  cost.trained = lora + (trained ? base : 0);
  cost.frozen = trained ? 0 : base;
  const int copies = trained || config.packing != Packing::both ? 1 : form.packed_copies;
  const double plain = e * number(weights * copies);
  cost.frozen_layers = cost.largest_layer = trained ? 0 : frozen_bytes(config, number(weights), plain);
  cost.weights = (trained ? plain : cost.frozen_layers) + e * number(2 * d.width + lora);
  cost.output = tokens * number(d.width) * e;
  cost.forward_peak = tokens * number(d.width + d.ffn) * e;
  if (!flow.gradient) {
    cost.forward_peak += tokens * number(2 * d.width + 2 * d.ffn) * e;
    return cost;
  }

  // Inputs of norms and products, qkv, attention's output, gate and up; LoRA's low-rank activations.
  const auto rows = [&](std::int64_t width) { return tokens * number(width) * e; };
  const bool attends = gradient_in || trained || qkv.ranks + out.ranks > 0, seams = mode == Recompute::attention_mlp;
  double kept = rows(d.width) + 8 * tokens, attention = rows(out.ranks);
  if (gradient_in || trained) kept += rows(d.width);
  if (trained || qkv.ranks > 0 || (seams && attends)) kept += rows(d.width);
  if (trained || gate_up.ranks > 0 || seams) kept += rows(d.width);
  if (attends) attention += rows(2 * q + 2 * kv + qkv.ranks) + 4 * tokens * number(d.heads);
  const double mlp = rows(2 * d.ffn + gate_up.ranks + down.ranks);
  const bool dropout = config.lora.dropout > 0 && down.ranks > 0;
  const double mlp_peak = rows(d.width + (dropout ? 4 : 3) * d.ffn);  // through down, swiglu's and its input's
  const double attention_peak = rows(3 * d.width + 2 * q + 2 * kv);

  // The last product of what is computed again is left out: that of down, and of o_proj where attention stands alone.
  const auto product = [&](std::int64_t in, const LoraMaps& term) {
    return 2 * tokens * number((in + term.ranks) * d.width);
  };
  switch (mode) {
    case Recompute::none:
      cost.kept = kept + attention + mlp;
      cost.backward_peak = std::max(mlp_peak, attention_peak);
      break;
    case Recompute::attention_mlp:
      cost.kept = kept;
      cost.backward_peak = std::max(mlp_peak + mlp, attention_peak + attention);
      cost.recompute = cost.forward - product(d.ffn, down) - (attends ? product(q, out) : attention_work);
      break;
    case Recompute::full:
      cost.kept = cost.output;
      cost.backward_peak = std::max(mlp_peak, attention_peak) + kept + attention + mlp - cost.output;
      cost.recompute = cost.forward - product(d.ffn, down);
      break;
  }
  if (mode != Recompute::none) cost.forward_peak = rows(d.width + 3 * d.ffn);
  return cost;
}

BlockCost vision_cost(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form,
                      std::int64_t index) {
  const VisionConfig& v = *config.vision;
  const bool trained = config.trainable.vision, last = index + 1 >= v.blocks();
  const double e = number(static_cast<std::int64_t>(size_of(form.dtype)));
  const double tokens = number(counts.images * v.tokens()), patches = number(counts.images * v.patches());
  const std::int64_t width = v.width, pixels = 3 * v.patch * v.patch;
  Flow flow{.gradient = trained};
  std::int64_t parameters = 0, linear = 0;  // `linear`: of these, weights of linear layers
  if (index == 0) {
    linear += width * pixels;
    flow.linear(patches, number(width * pixels), trained, false);
    parameters += width * (pixels + v.tokens() + (v.class_token ? 1 : 0) + (v.pre_norm ? 2 : 0));
    flow.cost.forward_peak = patches * number(pixels + width) * e;
    if (trained) flow.cost.kept += (patches * number(pixels) + tokens * number(width)) * e;
  }
  if (index < v.blocks()) {
    flow.linear(tokens, number(4 * width * width + 2 * width * v.ffn), trained);
    flow.attention(tokens, number(v.tokens()), width);
    linear += 4 * width * width + 2 * width * v.ffn;
    parameters += 4 * width * width + 2 * width * v.ffn + 9 * width + v.ffn;
    flow.cost.forward_peak =
        std::max(flow.cost.forward_peak, tokens * number(std::max(6 * width, 2 * width + v.ffn)) * e);
    if (trained) {
      flow.cost.kept += tokens * (number(8 * width + 2 * v.ffn) * e + 4 * number(4 + v.heads));
      flow.cost.forward_peak = tokens * number(2 * width) * e;
      flow.cost.backward_peak = tokens * number(2 * width + 2 * v.ffn) * e;
    }
  }
  if (index == 0) flow.cost.forward_peak += number(counts.images * 3 * v.image * v.image) * e;  // the pixels themselves
  if (config.features) {  // they are handed on from block to block, and no weights are held
    const double handed = number(counts.resampled * v.patches() * width) * e;
    return {.frozen = parameters, .forward_peak = handed, .output = handed};
  }
  BlockCost cost = flow.cost;
  (trained ? cost.trained : cost.frozen) = parameters;
  const double plain = number(linear) * e;
  cost.weights = number(parameters - linear) * e + (trained ? plain : frozen_bytes(config, number(linear), plain));
  cost.output = (last ? patches : tokens) * number(width) * e;
  return cost;
}

BlockCost resampler_cost(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form) {
  const ResamplerConfig& r = config.resampler;
  const VisionConfig& v = *config.vision;
  const bool trained = config.trainable.resampler, gradient_in = config.trainable.vision;
  const std::int64_t in = v.width, out = config.decoder.width;
  const double patches = number(counts.resampled * v.patches()), queries = number(counts.resampled * r.queries);
  const double e = number(static_cast<std::int64_t>(size_of(form.dtype)));
  Flow flow{.gradient = trained || gradient_in};
  std::int64_t parameters = 0;
  double kept = 0, peak = 0;  // elements
  switch (r.kind) {
    case ResamplerKind::linear:
      flow.linear(patches, number(in * out), trained, gradient_in);
      parameters = in * out + out;
      kept = patches * number(in);
      peak = patches * number(out);
      break;
    case ResamplerKind::mlp:
      flow.linear(patches, number(in * out), trained, gradient_in);
      flow.linear(patches, number(out * out), trained);
      parameters = in * out + out * out + 2 * out;
      kept = patches * number(in + 2 * out);
      peak = patches * 2 * number(out);
      break;
    case ResamplerKind::qwen:
      flow.linear(patches, number(in * out), trained, gradient_in);
      flow.linear(patches, number(2 * out * out), trained);
      flow.linear(number(r.queries), number(out * out), trained);  // the same for every picture
      flow.linear(queries, number(2 * out * out), trained);
      flow.attention(queries, number(v.patches()), out);
      parameters = r.queries * out + in * out + 5 * out * out + 4 * out + 6 * out;
      kept = patches * number(in + 5 * out) + queries * number(4 * out) + number(4 * r.queries * out);
      peak = patches * number(3 * out);
      break;
    case ResamplerKind::perceiver: {
      const std::int64_t inner = r.heads * r.head_width;
      const double keys = patches + queries;
      for (std::int64_t i = 0; i < r.depth; ++i) {
        flow.linear(keys, number(2 * in * inner), trained);
        flow.linear(queries, number(2 * in * inner + 8 * in * in), trained);
        flow.attention(queries, number(v.patches() + r.queries), inner);
      }
      flow.linear(queries, number(in * out), trained);
      parameters = r.queries * in + r.depth * (6 * in + 4 * in * inner + 8 * in * in) + 2 * in + in * out;
      kept = patches * number(in) +
             number(r.depth) * (keys * number(in + 2 * inner) + queries * number(4 * in + 2 * inner + 8 * in)) +
             queries * number(3 * in);
      peak = std::max(keys * number(2 * in + 2 * inner), queries * 12 * number(in));
      break;
    }
    case ResamplerKind::qformer: {
      const std::int64_t width = r.heads * r.head_width, crossing = (r.depth + 1) / 2;
      for (std::int64_t i = 0; i < r.depth; ++i) {
        flow.linear(queries, number(12 * width * width), trained);
        flow.attention(queries, number(r.queries), width);
        if (i % 2 != 0) continue;
        flow.linear(patches, number(2 * in * width), trained, gradient_in || trained);
        flow.linear(queries, number(2 * width * width), trained);
        flow.attention(queries, number(v.patches()), width);
      }
      flow.linear(queries, number(width * out), trained);
      parameters = r.queries * width + 2 * in + 2 * width + r.depth * (12 * width * width + 13 * width) +
                   crossing * (2 * width * width + 2 * in * width + 6 * width) + width * out + out;
      kept = patches * number(2 * in) + number(r.depth) * queries * number(15 * width) +
             number(crossing) * (patches * number(2 * width) + queries * number(4 * width)) +
             queries * number(3 * width);
      peak = std::max(patches * number(in + 2 * width), queries * 10 * number(width));
      break;
    }
  }
  BlockCost cost = flow.cost;
  (trained ? cost.trained : cost.frozen) = parameters;
  cost.weights = number(parameters) * e;
  cost.output = number(counts.resampled * r.tokens(v)) * number(out) * e;
  cost.forward_peak = flow.gradient ? cost.output : kept * e;
  if (flow.gradient) {
    cost.kept = kept * e;
    cost.backward_peak = peak * e;
  }
  return cost;
}

BlockCost embedding_cost(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form) {
  const DecoderConfig& d = config.decoder;
  const double e = number(static_cast<std::int64_t>(size_of(form.dtype)));
  BlockCost cost;
  const std::int64_t table = d.vocabulary * d.width;
  (config.trainable.decoder ? cost.trained : cost.frozen) = table;
  cost.weights = number(table) * e;
  if (d.tied) {
    cost.tied = table;
    cost.tied_bytes = cost.weights;
  }
  cost.output = number(counts.tokens * d.width) * e;
  cost.backward_peak = number((counts.tokens + counts.resampled) * d.width) * e;
  return cost;
}

BlockCost head_cost(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form, bool gradient) {
  const DecoderConfig& d = config.decoder;
  const bool trained = config.trainable.decoder;
  const double e = number(static_cast<std::int64_t>(size_of(form.dtype))), labels = number(counts.labels);
  const double width = number(d.width), table = width * number(d.vocabulary);
  Flow flow{.gradient = gradient || trained};
  flow.linear(labels, table, trained);
  BlockCost cost = flow.cost;
  const std::int64_t parameters = (d.vocabulary + 1) * d.width;
  (trained ? cost.trained : cost.frozen) = parameters;
  const bool packed = !d.tied && !trained && !config.quantization && config.packing == Packing::both;
  cost.weights = e * (table * (packed ? form.packed_copies : 1) + width);
  if (d.tied) {
    cost.tied = d.vocabulary * d.width;
    cost.tied_bytes = table * e;
  }
  const double logits = number(std::min(counts.labels, config.head_chunk_rows) * d.vocabulary) * e;
  cost.kept = flow.gradient ? labels * (2 * width * e + 4) : 0;
  if (trained) cost.kept += 4 * table;  // its gradient is made in the forward pass
  cost.forward_peak = logits + labels * (width * e + 8);
  cost.backward_peak = number(counts.tokens) * width * e;
  cost.output = 4;
  return cost;
}

}  // namespace

ComputeForm compute_form(DType dtype, Device& device) {
  const PurposeScope purpose(Purpose::weights);
  const Tensor probe = Tensor::zeros({64, 64}, dtype, device);
  const bool once = kernels(device).make_linear_weight(probe, Packing::both)->bytes() <= probe.bytes();
  return {.dtype = dtype, .packed_copies = once ? 1 : 2};
}

std::vector<BlockCost> block_costs(const MultimodalConfig& config, const StepCounts& counts, const ComputeForm& form) {
  const BatchSizes sizes{.tokens = counts.tokens, .images = counts.resampled, .labels = counts.labels};
  std::vector<BlockCost> costs;
  for (const ModelBlock& block : model_blocks(config)) {
    const auto position = static_cast<std::int64_t>(costs.size());
    const bool gradient_in = position > 0 && gradient_crosses(config, position, sizes);
    switch (block.kind) {
      case BlockKind::vision:
        costs.push_back(vision_cost(config, counts, form, block.index));
        break;
      case BlockKind::resampler:
        costs.push_back(resampler_cost(config, counts, form));
        break;
      case BlockKind::embedding:
        costs.push_back(embedding_cost(config, counts, form));
        break;
      case BlockKind::layer:
        costs.push_back(layer_cost(config, counts, form, gradient_in));
        break;
      case BlockKind::head:
        costs.push_back(head_cost(config, counts, form, gradient_in));
        break;
    }
  }
  return costs;
}

void share_table(BlockCost& sum, const BlockCost& second) {
  (second.trained > second.frozen ? sum.trained : sum.frozen) -= second.tied;
  sum.weights -= second.tied_bytes;
}

BlockCost piece_cost(const std::vector<BlockCost>& blocks, BlockRange piece) {
  BlockCost sum;
  std::int64_t tables = 0;
  double at_peak_forward = 0, at_peak_backward = 0;
  for (std::int64_t i = piece.begin; i < piece.end; ++i) {
    const BlockCost& block = blocks.at(static_cast<std::size_t>(i));
    sum.forward += block.forward;
    sum.backward += block.backward;
    sum.weight_gradient += block.weight_gradient;
    sum.recompute += block.recompute;
    sum.trained += block.trained;
    sum.frozen += block.frozen;
    sum.weights += block.weights;
    sum.frozen_layers += block.frozen_layers;
    sum.largest_layer = std::max(sum.largest_layer, block.largest_layer);
    sum.kept += block.kept;
    sum.output = block.output;
    at_peak_forward = std::max(at_peak_forward, sum.kept + block.forward_peak);
    at_peak_backward = std::max(at_peak_backward, sum.kept + block.backward_peak);
    if (block.tied > 0 && ++tables == 2) share_table(sum, block);
    if (block.tied > 0) {
      sum.tied = tables == 1 ? block.tied : 0;
      sum.tied_bytes = tables == 1 ? block.tied_bytes : 0;
    }
  }
  sum.forward_peak = at_peak_forward - sum.kept;
  sum.backward_peak = at_peak_backward - sum.kept;
  return sum;
}

StepCost step_cost(const MultimodalConfig& config, const StepCounts& counts) {
  const std::vector<ModelBlock> blocks = model_blocks(config);
  const std::vector<BlockCost> costs = block_costs(config, counts, {});
  StepCost sum;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const BlockKind kind = blocks[i].kind;
    double& part = kind == BlockKind::vision      ? sum.vision
                   : kind == BlockKind::resampler ? sum.resampler
                   : kind == BlockKind::head      ? sum.head
                                                  : sum.decoder;
    part += costs[i].forward + costs[i].backward;
  }
  return sum;
}

}  // namespace skymm
