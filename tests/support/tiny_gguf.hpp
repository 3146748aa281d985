// A pretrained model as a GGUF file.
#pragma once

#include <algorithm>
#include <functional>
#include <string>

#include "io/file.hpp"
#include "io/weights/source.hpp"
#include "support/gguf_writer.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm::testing {

// The tiny LLaMA of tests/golden/pretrained as llama.gguf in a folder, heads interleaved as llama.cpp's converter
// writes them; `more` adds to what the file says of itself. Returns its path.
inline std::string write_tiny_gguf(
    const TemporaryFolder& folder, const std::function<void(GgufWriter&)>& more = [](GgufWriter&) {}) {
  const auto source = open_weights(std::string(SKYMM_SOURCE_DIR) + "/tests/golden/pretrained/llama");
  GgufWriter writer;
  writer.add("general.architecture", std::string("llama"));
  for (const auto& [key, value] : {std::pair{"embedding_length", 16U},
                                   {"block_count", 2U},
                                   {"attention.head_count", 4U},
                                   {"attention.head_count_kv", 2U},
                                   {"feed_forward_length", 24U}}) {
    writer.add(std::string("llama.") + key, value);
  }
  writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  more(writer);
  const auto add = [&](const std::string& theirs, const std::string& ours, std::int64_t heads = 0) {
    const Tensor x = source->read(ours);
    std::vector<float> values = x.to_vector();
    const std::int64_t width = x.rank() == 2 ? x.dim(1) : 1, rows = x.dim(0);
    for (std::int64_t head = 0; head < heads; ++head) {  // (half, pair) -> (pair, half)
      const std::int64_t size = rows / heads, first = head * size;
      for (std::int64_t i = 0; i < size; ++i) {
        const std::int64_t from = first + i % 2 * (size / 2) + i / 2;
        const Tensor row = x.slice(0, from, from + 1);
        std::ranges::copy(row.to_vector(), values.begin() + (first + i) * width);
      }
    }
    std::vector<std::uint64_t> dims;
    for (int i = x.rank() - 1; i >= 0; --i) dims.push_back(static_cast<std::uint64_t>(x.dim(i)));
    writer.tensor(theirs, dims, values);
  };
  add("token_embd.weight", "model.embed_tokens.weight");
  add("output_norm.weight", "model.norm.weight");
  add("output.weight", "lm_head.weight");
  for (const std::string i : {"0", "1"}) {
    const std::string theirs = "blk." + i + ".", ours = "model.layers." + i + ".";
    add(theirs + "attn_q.weight", ours + "self_attn.q_proj.weight", 4);
    add(theirs + "attn_k.weight", ours + "self_attn.k_proj.weight", 2);
    add(theirs + "attn_v.weight", ours + "self_attn.v_proj.weight");
    add(theirs + "attn_output.weight", ours + "self_attn.o_proj.weight");
    add(theirs + "attn_norm.weight", ours + "input_layernorm.weight");
    add(theirs + "ffn_norm.weight", ours + "post_attention_layernorm.weight");
    add(theirs + "ffn_gate.weight", ours + "mlp.gate_proj.weight");
    add(theirs + "ffn_up.weight", ours + "mlp.up_proj.weight");
    add(theirs + "ffn_down.weight", ours + "mlp.down_proj.weight");
  }
  write_file(folder.file("llama.gguf"), writer.file());
  return folder.file("llama.gguf");
}

}  // namespace skymm::testing
