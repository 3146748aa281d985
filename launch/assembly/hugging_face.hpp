// Models as others ship them: a folder with config.json and safetensors as Hugging Face lays it out, an OpenCLIP
// folder, or a GGUF file. What their configurations say becomes ours; what we cannot compute is refused by its name,
// never ignored.
#pragma once

#include <string>

#include "io/pixels.hpp"
#include "ops/models/config.hpp"

namespace skymm {

struct DecoderDescription {
  DecoderConfig config;
  std::int64_t max_positions = 0;  // the longest sequence it was trained on; 0: not said
};

// LLaMA (1, 2 and what is built like it: TinyLlama, SmolLM2), Skywork, Mistral and Qwen2. path: a folder with
// config.json, or a GGUF file of the architectures llama and qwen2.
DecoderDescription describe_decoder(const std::string& path);

enum class VisionNames : std::uint8_t { hugging_face, open_clip };

struct VisionDescription {
  VisionConfig config;
  ImageSpec images;
  VisionNames names = VisionNames::hugging_face;
};

// The vision towers of CLIP, OpenCLIP and SigLIP. path: a folder with config.json or open_clip_config.json. The output
// is the input of the last block, as LLaVA takes it.
VisionDescription describe_vision(const std::string& path);

}  // namespace skymm
