// What a model consists of, and presets by name. Sizes are in elements, tokens or pixels.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/kernels/kernels.hpp"
#include "ops/layers/linear.hpp"
#include "ops/layers/recompute.hpp"

namespace skymm {

// A LLaMA-style decoder.
struct DecoderConfig {
  std::int64_t vocabulary = 8192, width = 128, layers = 4, heads = 4, kv_heads = 4, head_width = 32, ffn = 384;
  float eps = 1e-5F;      // of the norms
  float theta = 1e4F;     // of the rotary positions
  bool tied = true;       // the head is the embedding table
  bool qkv_bias = false;  // q, k and v have biases: Qwen2's
  // Tokens that attention reaches back, 0: all (Mistral's sliding window). It is computed over all: the same for
  // sequences of no more tokens, and callers see to it that there are no longer ones.
  std::int64_t window = 0;
};

// A ViT as CLIP's.
struct VisionConfig {
  std::int64_t image = 112, patch = 16, width = 192, layers = 6, heads = 6, ffn = 768;
  float eps = 1e-5F;
  Activation activation = Activation::quick_gelu;
  bool class_token = false;
  bool pre_norm = true;     // a norm before the first block
  bool patch_bias = false;  // of the patch embedding: SigLIP's
  int output_layer = -1;    // which hidden state comes out, as in Hugging Face: -2 is the input of the last block

  std::int64_t grid() const { return image / patch; }
  std::int64_t patches() const { return grid() * grid(); }
  std::int64_t tokens() const { return patches() + (class_token ? 1 : 0); }
  std::int64_t blocks() const;  // that run for output_layer; throws Error where there are no such
};

enum class ResamplerKind : std::uint8_t { qwen, perceiver, linear, mlp, qformer };

// From patches to visual tokens of the decoder's width.
struct ResamplerConfig {
  ResamplerKind kind = ResamplerKind::qwen;
  std::int64_t queries = 16;  // visual tokens of an image: qwen (a square number), perceiver, qformer; else all patches
  std::int64_t heads = 4;     // qwen: of the decoder's width; perceiver, qformer: of head_width each
  std::int64_t head_width = 64;  // perceiver, qformer
  std::int64_t depth = 2;        // perceiver, qformer: layers
  bool positions = true;         // qwen: two-dimensional ones are added to queries and keys

  std::int64_t tokens(const VisionConfig& vision) const;
};

// What trains. Whatever does not is frozen; LoRA trains always.
struct TrainableParts {
  bool vision = false, resampler = true, decoder = false;
};

struct MultimodalConfig {
  std::optional<VisionConfig> vision;  // none: a decoder alone
  ResamplerConfig resampler;
  DecoderConfig decoder;
  LoraOptions lora;
  TrainableParts trainable;
  Packing packing = Packing::both;             // of frozen decoder weights
  std::optional<Quantization> quantization{};  // of frozen linear weights, ViT and decoder; none: as they compute
  Recompute recompute = Recompute::none;       // in the decoder's layers
  std::int64_t head_chunk_rows = 256;          // logits of so many rows exist at a time
  bool features = false;  // batches bring what the frozen ViT makes of their pictures: its blocks hand that on
};

// By name; an Error lists the names.
DecoderConfig decoder_preset(std::string_view name);
VisionConfig vision_preset(std::string_view name);
ResamplerKind parse_resampler(std::string_view name);
std::string_view name_of(ResamplerKind kind);
std::vector<std::string_view> decoder_presets();
std::vector<std::string_view> vision_presets();

}  // namespace skymm
