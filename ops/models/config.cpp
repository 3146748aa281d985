#include "ops/models/config.hpp"

#include <array>
#include <cmath>

#include "core/error.hpp"

namespace skymm {
namespace {

template <class Value>
struct Named {
  std::string_view name;
  Value value;
};

// vocabulary, width, layers, heads, kv_heads, head_width, ffn, eps, theta, tied
const std::array decoders{
    Named<DecoderConfig>{"nano", {8192, 128, 4, 4, 4, 32, 384, 1e-5F, 1e4F, true}},
    Named<DecoderConfig>{"pico", {512, 64, 16, 4, 2, 16, 160, 1e-5F, 1e4F, true}},
    Named<DecoderConfig>{"smollm2-135m", {49152, 576, 30, 9, 3, 64, 1536, 1e-5F, 1e5F, true}},
    Named<DecoderConfig>{"tinyllama-1.1b", {32000, 2048, 22, 32, 4, 64, 5632, 1e-5F, 1e4F, false}},
    Named<DecoderConfig>{"llama-13b", {32000, 5120, 40, 40, 40, 128, 13824, 1e-5F, 1e4F, false}},
    Named<DecoderConfig>{"skywork-13b", {65519, 4608, 52, 36, 36, 128, 12288, 1e-6F, 1e4F, false}},
};

// image, patch, width, layers, heads, ffn, eps, activation, class_token, pre_norm, patch_bias, output_layer
const std::array visions{
    Named<VisionConfig>{"vit-nano", {112, 16, 192, 6, 6, 768, 1e-5F, Activation::quick_gelu, false, true, false, -1}},
    Named<VisionConfig>{"vit-pico", {28, 14, 32, 2, 2, 64, 1e-5F, Activation::quick_gelu, false, true, false, -1}},
    Named<VisionConfig>{"vit-b16", {224, 16, 768, 12, 12, 3072, 1e-5F, Activation::quick_gelu, true, true, false, -1}},
    Named<VisionConfig>{"clip-vit-l14",
                        {224, 14, 1024, 24, 16, 4096, 1e-5F, Activation::quick_gelu, true, true, false, -2}},
    Named<VisionConfig>{"clip-vit-l14-336",
                        {336, 14, 1024, 24, 16, 4096, 1e-5F, Activation::quick_gelu, true, true, false, -2}},
};

const std::array resamplers{
    Named<ResamplerKind>{"qwen", ResamplerKind::qwen}, Named<ResamplerKind>{"perceiver", ResamplerKind::perceiver},
    Named<ResamplerKind>{"linear", ResamplerKind::linear}, Named<ResamplerKind>{"mlp", ResamplerKind::mlp},
    Named<ResamplerKind>{"qformer", ResamplerKind::qformer}};

template <class Table>
std::vector<std::string_view> names_of(const Table& table) {
  std::vector<std::string_view> names;
  for (const auto& entry : table) names.push_back(entry.name);
  return names;
}

template <class Table>
const auto& find(const Table& table, std::string_view what, std::string_view name) {
  for (const auto& entry : table) {
    if (entry.name == name) return entry.value;
  }
  fail("there is no {} called '{}'; there are: {}", what, name, fmt::join(names_of(table), ", "));
}

}  // namespace

std::int64_t VisionConfig::blocks() const {
  const std::int64_t run = output_layer >= 0 ? output_layer : layers + 1 + output_layer;
  check(run >= 0 && run <= layers, "output layer {} of a ViT of {} layers does not exist", output_layer, layers);
  return run;
}

std::int64_t ResamplerConfig::tokens(const VisionConfig& vision) const {
  return kind == ResamplerKind::linear || kind == ResamplerKind::mlp ? vision.patches() : queries;
}

DecoderConfig decoder_preset(std::string_view name) { return find(decoders, "decoder preset", name); }
VisionConfig vision_preset(std::string_view name) { return find(visions, "ViT preset", name); }
ResamplerKind parse_resampler(std::string_view name) { return find(resamplers, "resampler", name); }

std::string_view name_of(ResamplerKind kind) { return resamplers[static_cast<std::size_t>(kind)].name; }
std::vector<std::string_view> decoder_presets() { return names_of(decoders); }
std::vector<std::string_view> vision_presets() { return names_of(visions); }

}  // namespace skymm
