#include "ops/layers/linear.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "ops/layers/init.hpp"

namespace skymm {

Linear::Linear(std::int64_t in, std::vector<Part> parts, bool bias, DType dtype, Device& device)
    : in_(in), dtype_(dtype), device_(device) {
  std::int64_t out = 0;
  for (const Part& part : parts) out += part.out;
  const PurposeScope purpose(Purpose::weights);
  plain_ = Tensor::empty({out, in}, dtype, device);
  if (bias) bias_ = Tensor::empty({out}, dtype, device);
  std::int64_t row = 0;
  for (Part& part : parts) {
    Entry entry;
    entry.weight.shape = part.weight_shape.rank() > 0 ? part.weight_shape : Shape{part.out, in};
    entry.weight.value = plain_.slice(0, row, row + part.out).view(entry.weight.shape);
    if (bias) {
      entry.bias.shape = {part.out};
      entry.bias.value = bias_.slice(0, row, row + part.out);
    }
    row += part.out;
    entry.part = std::move(part);
    entries_.push_back(std::move(entry));
  }
  weight_ = kernels(device).make_linear_weight(plain_, Packing::none);
}

LinearMaps Linear::maps(const Context& context) {
  LinearMaps maps{.weight = weight_, .bias = bias_, .lora_a = merged_ ? Tensor() : lora_a_};
  maps.row_ids = context.row_ids;
  for (Entry& entry : entries_) {
    LinearTerm term{.out = entry.part.out, .weight = &entry.weight, .bias = bias_.defined() ? &entry.bias : nullptr};
    if (entry.lora && !merged_) {
      Lora& lora = *entry.lora;
      term.lora = static_cast<std::int64_t>(maps.loras.size());
      RandomKey random = context.random;
      random.operation = lora.operation;
      maps.loras.push_back({&lora.a, &lora.b, lora.scaling, context.training ? lora.dropout : 0.0F, random});
    }
    maps.terms.push_back(term);
  }
  return maps;
}

Variable Linear::forward(const Variable& x, const Context& context, Activation activation) {
  return linear(x, maps(context), activation);
}

Variable Linear::forward_patches(const Variable& pixels, std::int64_t patch, const Context& context) {
  return patch_embedding(pixels, patch, maps(context));
}

Variable Linear::forward_swiglu(const Variable& gate_up, const Context& context) {
  return swiglu_linear(gate_up, maps(context));
}

Variable Linear::add_to(const Variable& residual, const Variable& x, const Context& context) {
  return add_linear(residual, x, maps(context));
}

int Linear::add_lora(const std::string& prefix, const LoraOptions& options) {
  check(options.rank > 0, "LoRA needs a rank of at least 1; got {}", options.rank);
  check(!merged_, "{} has merged LoRA weights; unmerge them first", prefix);
  std::vector<Entry*> chosen;
  for (Entry& entry : entries_) {
    const auto& targets = options.targets;
    if (targets.empty() || std::ranges::find(targets, entry.part.name) != targets.end()) chosen.push_back(&entry);
  }
  if (chosen.empty()) return 0;
  const auto rank = static_cast<float>(options.rank);
  const PurposeScope purpose(Purpose::weights);
  lora_a_ = Tensor::zeros({options.rank * static_cast<std::int64_t>(chosen.size()), in_}, dtype_, device_);
  std::int64_t row = 0;
  for (Entry* entry : chosen) {
    entry->lora = std::make_unique<Lora>();
    Lora& lora = *entry->lora;
    lora.a.shape = {options.rank, in_};
    lora.a.value = lora_a_.slice(0, row, row + options.rank);
    lora.b.shape = {entry->part.out, options.rank};
    lora.b.value = Tensor::zeros(lora.b.shape, lora_a_.dtype(), lora_a_.device());
    lora.a.trainable = lora.b.trainable = true;
    lora.scaling = options.alpha / (options.rank_stabilized ? std::sqrt(rank) : rank);
    lora.dropout = options.dropout;
    lora.operation = static_cast<std::uint32_t>(stable_hash(qualified(prefix, entry->part.name) + ".lora_dropout"));
    row += options.rank;
  }
  return static_cast<int>(chosen.size());
}

LinearWeightPtr Linear::stacked_codes() const {
  std::vector<QuantizedTensor> parts;
  for (const Entry& entry : entries_) parts.push_back(entry.weight.quantized);
  return kernels(device_).make_linear_weight(parts, dtype_);
}

void Linear::quantize(const Quantization& how) {
  check(!quantized_ && plain_.defined(), "a linear layer was quantised twice, or after it was frozen");
  quantized_ = true;
  const PurposeScope purpose(Purpose::weights);
  weight_ = nullptr;
  plain_ = Tensor();
  for (Entry& entry : entries_) {
    entry.weight.value = Tensor();
    entry.weight.trainable = entry.bias.trainable = false;
    entry.weight.quantized = QuantizedTensor::empty(entry.weight.shape, how, device_);
  }
  weight_ = stacked_codes();
}

void Linear::freeze(Packing packing) {
  check(packing_ == Packing::none, "a linear layer was frozen twice");
  for (Entry& entry : entries_) entry.weight.trainable = entry.bias.trainable = false;
  if (packing == Packing::none || quantized_) return;
  const PurposeScope purpose(Purpose::weights);
  weight_ = kernels(plain_).make_linear_weight(plain_, packing);
  packing_ = packing;
  plain_ = Tensor();
  for (Entry& entry : entries_) entry.weight.value = Tensor();
  device_.allocator().trim();  // in the cache it would take its room beside the packed form
}

void Linear::add_low_rank_to_weight(float sign) {
  const PurposeScope purpose(Purpose::weights);
  check(!plain_.defined() || !plain_.storage().is_in_weight_memory(),
        "LoRA cannot be merged into plain weights that ranks share: set run.share_frozen off");
  const Tensor plain = plain_.defined() ? plain_ : weight_->plain();
  const Tensor sum = plain.dtype() == DType::f32 ? plain : plain.to(DType::f32);
  std::int64_t row = 0;
  for (Entry& entry : entries_) {
    if (entry.lora) {
      kernels(sum).gemm(entry.lora->b.value.to(DType::f32), entry.lora->a.value.to(DType::f32),
                        sum.slice(0, row, row + entry.part.out),
                        {.accumulate = true, .alpha = sign * entry.lora->scaling});
    }
    row += entry.part.out;
  }
  if (!sum.shares_storage(plain)) plain.copy_from(sum);
  if (!plain_.defined()) weight_ = kernels(plain).make_linear_weight(plain, packing_);
}

void Linear::merge() {
  check(!merged_, "LoRA weights are merged already");
  if (lora_a_.defined()) add_low_rank_to_weight(1.0F);
  merged_ = true;
}

void Linear::unmerge() {
  check(merged_, "LoRA weights are not merged");
  if (quantized_) {
    weight_ = stacked_codes();
  } else if (lora_a_.defined()) {
    add_low_rank_to_weight(-1.0F);
  }
  merged_ = false;
}

void Linear::visit(const std::string& prefix, const ParameterVisitor& visitor) {
  for (Entry& entry : entries_) {
    const std::string name = qualified(prefix, entry.part.name);
    visitor(name + ".weight", entry.weight);
    if (bias_.defined()) visitor(name + ".bias", entry.bias);
    if (entry.lora) {
      visitor(name + ".lora_A.weight", entry.lora->a);
      visitor(name + ".lora_B.weight", entry.lora->b);
    }
  }
}

}  // namespace skymm
