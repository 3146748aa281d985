// By hand: what a pretrained decoder says to prompts, for tests/golden/smollm2.py to compare with PyTorch.
//
//   launch_reference_logits MODEL PROMPTS.safetensors OUT.safetensors TOKENS [ADAPTER]
//
// PROMPTS holds prompt.0, prompt.1, ... i32 [n]; OUT gets logits.N f32 [vocabulary] after prompt N, and greedy.N i32
// [TOKENS], what follows it, by the cache of keys and values. ADAPTER: a folder as PEFT writes it. All in f32.
#include <fmt/format.h>

#include <map>

#include "core/error.hpp"
#include "launch/assembly/adapter.hpp"
#include "launch/assembly/pretrained.hpp"
#include "ops/models/multimodal.hpp"
#include "support/load_weights.hpp"

namespace skymm {
namespace {

std::unique_ptr<Multimodal> open_model(const std::string& path, const std::string& adapter_path) {
  MultimodalConfig config;
  config.decoder = describe_decoder(path).config;
  config.lora.rank = 0;
  Adapter adapter;
  if (!adapter_path.empty()) {
    adapter = read_adapter(adapter_path);
    config.lora = {adapter.rank, static_cast<float>(adapter.alpha), 0, adapter.rank_stabilized, adapter.targets};
  }
  auto model = std::make_unique<Multimodal>(config, DType::f32, cpu());
  testing::load_weights(*model, {bind_decoder(config.decoder, open_weights(path))});
  const std::map<std::string, Tensor> trained(adapter.tensors.begin(), adapter.tensors.end());
  for (const NamedParameter& entry : trainable_parameters(*model)) {
    check(trained.contains(entry.name), "the adapter lacks {}", entry.name);
    load(*entry.parameter, trained.at(entry.name));
  }
  model->freeze();
  return model;
}

// The logits after `tokens`, which follow those in the cache.
Tensor read(Multimodal& model, KeyValueCache& cache, const Tensor& tokens) {
  const std::int64_t n = tokens.dim(0);
  cache.extend(std::vector{n});
  Batch batch;
  batch.tokens = tokens;
  batch.positions = cache.positions();
  batch.cache = &cache;
  Graph graph(Graph::Mode::inference);
  return model.logits(graph, batch, Tensor::from(std::vector{static_cast<std::int32_t>(n - 1)}, {1}));
}

int run(const std::vector<std::string>& arguments) {
  check(arguments.size() == 4 || arguments.size() == 5, "usage: MODEL PROMPTS OUT TOKENS [ADAPTER]");
  const std::unique_ptr<Multimodal> model = open_model(arguments[0], arguments.size() == 5 ? arguments[4] : "");
  const std::unique_ptr<WeightSource> prompts = open_weights(arguments[1]);
  const std::int64_t count = std::stoll(arguments[3]);
  const DecoderConfig& d = model->config().decoder;
  NamedTensors out;
  for (int i = 0; prompts->contains(fmt::format("prompt.{}", i)); ++i) {
    const Tensor prompt = prompts->read(fmt::format("prompt.{}", i));
    KeyValueCache cache(d.layers, {d.heads, d.kv_heads, d.head_width}, {prompt.dim(0) + count}, DType::f32, cpu());
    Tensor logits = read(*model, cache, prompt);
    out.emplace_back(fmt::format("logits.{}", i), logits.view({d.vocabulary}).clone());
    std::vector<std::int32_t> text;
    for (std::int64_t t = 0; t < count; ++t) {
      const Tensor best = Tensor::empty({1}, DType::i32);
      kernels(logits).argmax(logits, best);
      text.push_back(static_cast<std::int32_t>(best.item()));
      if (t + 1 < count) logits = read(*model, cache, best);
    }
    if (count > 0) out.emplace_back(fmt::format("greedy.{}", i), Tensor::from(text, {count}));
  }
  write_safetensors(arguments[2], out);
  return 0;
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  try {
    return skymm::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
