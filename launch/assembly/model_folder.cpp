#include "launch/assembly/model_folder.hpp"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/tokenizer_files.hpp"
#include "io/weights/gguf.hpp"
#include "launch/assembly/hugging_face.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

// The files of a folder but its weights.
void copy_beside(const std::string& base, const std::string& out) {
  if (!fs::is_directory(base)) return;
  for (const fs::directory_entry& file : fs::directory_iterator(base)) {
    const std::string name = file.path().filename().string();
    const bool wanted = (name.ends_with(".json") && !name.ends_with(".index.json")) || name == "tokenizer.model" ||
                        name == "merges.txt" || name.ends_with(".jinja");
    if (wanted && file.is_regular_file()) {
      fs::copy_file(file.path(), fs::path(out) / name, fs::copy_options::overwrite_existing);
    }
  }
}

// "float32" as PyTorch calls it.
std::string torch_name(DType dtype) {
  if (dtype == DType::f32) return "float32";
  return dtype == DType::f16 ? "float16" : "bfloat16";
}

void write_of_gguf(const std::string& path, DType dtype, const std::string& out) {
  const DecoderDescription decoder = describe_decoder(path);
  const DecoderConfig& c = decoder.config;
  const GgufFile file(path);
  nlohmann::json config = {{"architectures", {c.qkv_bias ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                           {"model_type", c.qkv_bias ? "qwen2" : "llama"},
                           {"vocab_size", c.vocabulary},
                           {"hidden_size", c.width},
                           {"num_hidden_layers", c.layers},
                           {"num_attention_heads", c.heads},
                           {"num_key_value_heads", c.kv_heads},
                           {"head_dim", c.head_width},
                           {"intermediate_size", c.ffn},
                           {"hidden_act", "silu"},
                           {"rms_norm_eps", c.eps},
                           {"rope_theta", c.theta},
                           {"tie_word_embeddings", c.tied},
                           {"max_position_embeddings", decoder.max_positions > 0 ? decoder.max_positions : 2048},
                           {"torch_dtype", torch_name(dtype)}};
  for (const auto& [theirs, ours] : {std::pair{"bos", "bos"}, {"eos", "eos"}, {"padding", "pad"}}) {
    const std::int64_t id = file.integer(fmt::format("tokenizer.ggml.{}_token_id", theirs), -1);
    config[fmt::format("{}_token_id", ours)] =
        id < 0 ? nlohmann::json() : nlohmann::json(id);  // null: none, not a default
  }
  write_file(out + "/config.json", config.dump(2) + "\n");
  try {
    write_tokenizer_of_gguf(path, out);
  } catch (const Error& error) {
    std::fputs(fmt::format("{} has no tokenizer: {}; copy the LLM's into it\n", out, error.message()).c_str(), stdout);
  }
}

}  // namespace

void write_beside(const std::string& base, DType dtype, const std::string& out) {
  copy_beside(base, out);
  const std::string weights = weights_file(base);
  if (!fs::exists(fs::path(base) / "config.json") && is_gguf(weights)) write_of_gguf(weights, dtype, out);
}

}  // namespace skymm
