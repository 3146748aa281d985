#include "ops/layers/init.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {
namespace {

constexpr std::int64_t block = 1 << 16;  // elements that share a random stream

enum class Distribution : std::uint8_t { zero, one, normal, uniform };
struct Recipe {
  Distribution distribution;
  double scale = 0;
};

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

Recipe recipe_of(std::string_view name, const Shape& shape) {
  const double in = shape.rank() > 1 ? static_cast<double>(shape.numel() / shape[0]) : 1;
  if (contains(name, "lora_A")) return {Distribution::uniform, 1 / std::sqrt(in)};
  if (contains(name, "lora_B")) return {Distribution::zero};
  if (shape.rank() == 1) {
    if (name.ends_with("bias")) return {Distribution::zero};
    return name.ends_with("weight") ? Recipe{Distribution::one} : Recipe{Distribution::normal, 0.02};
  }
  // The residual stream starts as the embedding: what is added to it must not drown which token it was, or nothing can
  // be looked up by it. With a tied head these give logits of deviation 2.
  if (contains(name, "embed_tokens")) return {Distribution::normal, 2 / std::sqrt(in)};
  if (name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight")) {
    return {Distribution::normal, 0.25 / std::sqrt(in)};
  }
  const bool table = contains(name, "position_embedding") || contains(name, "token_embedding") ||
                     name.ends_with("query") || name.ends_with("query_tokens") || name.ends_with("latents");
  return {Distribution::normal, table ? 0.02 : 1 / std::sqrt(in)};
}

}  // namespace

std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

void initialize(const std::string& name, Parameter& parameter, std::uint64_t seed) {
  if (!parameter.value.defined() && !parameter.quantized.defined()) return;
  const Recipe recipe = recipe_of(name, parameter.shape);
  if (recipe.distribution == Distribution::zero || recipe.distribution == Distribution::one) {
    return load(parameter, Tensor::full(parameter.shape, DType::f32, recipe.distribution == Distribution::one ? 1 : 0));
  }
  const std::int64_t count = parameter.shape.numel();
  const auto scale = static_cast<float>(recipe.scale);
  const std::uint64_t key = seed ^ stable_hash(name);
  std::vector<float> values(static_cast<std::size_t>(count));
#pragma omp parallel for
  for (std::int64_t b = 0; b < (count + block - 1) / block; ++b) {
    RandomStream random(key, static_cast<std::uint64_t>(b));
    for (std::int64_t i = b * block; i < std::min(count, (b + 1) * block); ++i) {
      const bool normal = recipe.distribution == Distribution::normal;
      values[static_cast<std::size_t>(i)] = scale * (normal ? random.normal() : 2 * random.uniform() - 1);
    }
  }
  load(parameter, Tensor::from(values, parameter.shape));
}

void load(Parameter& parameter, const Tensor& value) {
  check(value.shape() == parameter.shape, "a value of shape {} does not fit a parameter of shape {}", value.shape(),
        parameter.shape);
  if (const QuantizedTensor& codes = parameter.quantized; codes.defined()) {
    const bool floating = value.dtype() == DType::f32 || value.dtype() == DType::bf16;
    const Tensor plain = (floating ? value : value.to(DType::f32)).to(codes.codes.device());
    return kernels(plain).quantize(plain, codes);
  }
  check(parameter.value.defined(), "a parameter of shape {} is packed already; load it before the model is frozen",
        parameter.shape);
  parameter.value.copy_from(value);
}

void load(Parameter& parameter, const QuantizedTensor& value) {
  check_layout(value, "load");
  const QuantizedTensor& codes = parameter.quantized;
  if (!codes.defined() || codes.format != value.format || codes.is_double() != value.is_double()) {
    const Tensor plain = Tensor::empty(value.shape, DType::f32, value.codes.device());
    kernels(plain).dequantize(value, plain);
    return load(parameter, plain);
  }
  check(value.shape == parameter.shape, "codes of shape {} do not fit a parameter of shape {}", value.shape,
        parameter.shape);
  const auto copy = [](const Tensor& from, const Tensor& to) {
    if (from.defined()) to.copy_from(from);
  };
  copy(value.codes, codes.codes);
  copy(value.scales, codes.scales);
  copy(value.scale_steps, codes.scale_steps);
  copy(value.scale_offset, codes.scale_offset);
}

void initialize(Module& module, std::uint64_t seed) {
  for (const NamedParameter& entry : all_parameters(module)) initialize(entry.name, *entry.parameter, seed);
}

}  // namespace skymm
