// Models as transformers saves them (tests/golden/pretrained): architecture and weights come out right, and what does
// not fit is listed.
#include "launch/assembly/pretrained.hpp"

#include <filesystem>
#include <numeric>

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/weights/safetensors.hpp"
#include "launch/assembly/chat_form.hpp"
#include "ops/models/multimodal.hpp"
#include "support/load_weights.hpp"
#include "support/logits.hpp"
#include "support/support.hpp"
#include "support/text.hpp"
#include "support/tiny_gguf.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using ::testing::HasSubstr;
using testing::load_weights;
using ::testing::Not;
using testing::TemporaryFolder;
using testing::Values;

std::string golden(const std::string& name) {
  return std::string(SKYMM_SOURCE_DIR) + "/tests/golden/pretrained/" + name;
}

const WeightSource& expected() {
  static const std::unique_ptr<WeightSource> source = open_weights(golden("expected.safetensors"));
  return *source;
}

Tensor logits_of(const std::string& path, DType dtype = DType::f32) {
  return testing::decoder_logits(path, expected().read("tokens"), dtype);
}

TEST(Pretrained, DecodersComputeWhatTransformersDoes) {
  for (const std::string name : {"llama", "mistral", "qwen2"}) {
    SCOPED_TRACE(name);
    EXPECT_CLOSE(logits_of(golden(name)), testing::values_of(expected().read(name + ".logits")), 2e-6);
    EXPECT_CLOSE(logits_of(golden(name), DType::bf16), testing::values_of(expected().read(name + ".logits")), 3e-2);
  }
}

// The sum of the losses of `tokens`, each but the first predicted by those before it.
Variable loss_of(Multimodal& model, Graph& graph, const std::vector<std::int32_t>& tokens) {
  const auto length = static_cast<std::int32_t>(tokens.size());
  std::vector<std::int32_t> places(tokens.size());
  std::iota(places.begin(), places.end(), 0);
  Batch batch;
  batch.tokens = Tensor::from(tokens, {length});
  batch.positions = Tensor::from(places, {length});
  batch.sequence_offsets = Tensor::from(std::vector<std::int32_t>{0, length}, {2});
  batch.max_length = length;
  batch.label_rows = batch.positions.slice(0, 0, length - 1);
  batch.label_ids = batch.tokens.slice(0, 1, length);
  return model.loss(graph, batch);
}

TEST(Pretrained, LossAndLoraGradientsAreThoseOfPeft) {
  const std::unique_ptr<WeightSource> theirs = open_weights(golden("gradients.safetensors"));
  for (const std::string name : {"llama", "mistral", "qwen2"}) {
    SCOPED_TRACE(name);
    MultimodalConfig config;
    config.decoder = describe_decoder(golden(name)).config;
    config.lora = {.rank = 2, .alpha = 6};
    Multimodal model(config, DType::f32, cpu());
    load_weights(model, {bind_decoder(config.decoder, open_weights(golden(name)))});
    const std::vector<NamedParameter> loras = trainable_parameters(model);
    EXPECT_EQ(loras.size(), 2U * 2 * 7);
    for (const NamedParameter& entry : loras) load(*entry.parameter, theirs->read(name + "." + entry.name));
    model.freeze();
    Graph graph;
    const Variable loss = loss_of(model, graph, expected().read("tokens").to_vector<std::int32_t>());
    EXPECT_CLOSE(loss.value(), testing::values_of(theirs->read(name + ".loss_sum")), 1e-5);
    graph.backward(loss, Tensor::full({1}, DType::f32, 1));
    for (const NamedParameter& entry : loras) {
      SCOPED_TRACE(entry.name);
      EXPECT_CLOSE(entry.parameter->gradient, testing::values_of(theirs->read(name + ".gradient." + entry.name)), 1e-5);
    }
  }
}

// What a vision tower makes of pixels.
Tensor features_of(const VisionDescription& vision, const std::string& path, const Tensor& pixels) {
  VisionTransformer tower(vision.config, DType::f32, cpu());
  struct Wrapped final : Module {
    explicit Wrapped(VisionTransformer& t) : tower(t) {}
    void visit(const std::string&, const ParameterVisitor& visitor) override { tower.visit("vision_model", visitor); }
    VisionTransformer& tower;
  } wrapped(tower);
  load_weights(wrapped, {bind_vision(vision, open_weights(path))});
  Graph graph(Graph::Mode::inference);
  return tower.forward(graph, pixels).value();
}

TEST(Pretrained, VisionTowersComputeWhatTransformersDoes) {
  for (const std::string name : {"clip", "siglip", "open_clip"}) {
    SCOPED_TRACE(name);
    const Tensor features = features_of(describe_vision(golden(name)), golden(name), expected().read("pixels"));
    const std::string theirs = name == "open_clip" ? "clip" : name;
    EXPECT_CLOSE(features, testing::values_of(expected().read(theirs + ".features")), 2e-6);
  }
}

// A convolution without padding takes whole patches, and transformers has as many positions.
TEST(Pretrained, PixelsThatFillNoPatchAreLeftOut) {
  const TemporaryFolder folder;
  nlohmann::json config = read_json(golden("siglip") + "/config.json");
  nlohmann::json& tower = config.contains("vision_config") ? config["vision_config"] : config;
  tower["image_size"] = 18;  // patches of 7
  write_file(folder.file("config.json"), config.dump());
  const VisionDescription vision = describe_vision(folder.path());
  EXPECT_EQ(vision.config.patches(), 4);
  const Tensor cropped = expected().read("pixels");
  const Tensor pixels = Tensor::full({cropped.dim(0), 3, 18, 18}, DType::f32, 7);
  pixels.slice(2, 0, 14).slice(3, 0, 14).copy_from(cropped);
  EXPECT_CLOSE(features_of(vision, golden("siglip"), pixels), testing::values_of(expected().read("siglip.features")),
               2e-6);
}

TEST(Pretrained, ConfigurationsSayWhatAModelIs) {
  const DecoderDescription mistral = describe_decoder(golden("mistral"));
  EXPECT_EQ(mistral.config.head_width, 6);
  EXPECT_EQ(mistral.config.kv_heads, 2);
  EXPECT_FALSE(mistral.config.tied);
  EXPECT_EQ(mistral.config.window, 32);
  const DecoderDescription qwen = describe_decoder(golden("qwen2"));
  EXPECT_TRUE(qwen.config.qkv_bias && qwen.config.tied);
  EXPECT_EQ(qwen.config.theta, 1e6F);
  EXPECT_EQ(qwen.config.window, 0);  // use_sliding_window is false
  const VisionDescription siglip = describe_vision(golden("siglip"));
  EXPECT_FALSE(siglip.config.class_token || siglip.config.pre_norm);
  EXPECT_EQ(siglip.config.activation, Activation::gelu_tanh);
  EXPECT_EQ(siglip.images.mean[0], 0.5F);
  EXPECT_EQ(siglip.images.size, 14);
  const VisionDescription open_clip = describe_vision(golden("open_clip"));
  EXPECT_EQ(open_clip.config.heads, 2);
  EXPECT_EQ(open_clip.config.ffn, 24);
  EXPECT_EQ(open_clip.images.mean[2], 0.125F);
  EXPECT_EQ(describe_vision(golden("clip")).images.mean, clip_mean);
}

// A copy of the LLaMA folder whose config.json gets `change`.
std::string changed_config(const TemporaryFolder& folder, const std::string& change,
                           const std::string& name = "llama") {
  nlohmann::json config = read_json(golden(name) + "/config.json");
  config.merge_patch(nlohmann::json::parse(change));
  write_file(folder.file("config.json"), config.dump());
  return folder.path();
}

TEST(Pretrained, WhatCannotBeComputedIsRefusedByName) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& change) {
    return error_of([&] { describe_decoder(changed_config(folder, change)); });
  };
  EXPECT_THAT(refusal(R"({"model_type":"gpt2"})"), HasSubstr("type 'gpt2' cannot be computed; there are: llama"));
  EXPECT_THAT(refusal(R"({"hidden_act":"gelu"})"), HasSubstr("hidden_act is \"gelu\""));
  EXPECT_THAT(refusal(R"({"attention_bias":true})"), HasSubstr("attention_bias is true"));
  EXPECT_THAT(refusal(R"({"rope_scaling":{"rope_type":"llama3","factor":8.0}})"), HasSubstr("rope_scaling is {"));
  EXPECT_THAT(refusal(R"({"hidden_size":null})"), HasSubstr("hidden_size is absent; a positive number"));
  EXPECT_THAT(refusal(R"({"hidden_size":-4})"), HasSubstr("hidden_size is -4"));
  EXPECT_THAT(refusal(R"({"num_attention_heads":3,"num_key_value_heads":1,"head_dim":null})"),
              HasSubstr("16 does not divide into 3"));
  EXPECT_THAT(refusal(R"({"num_key_value_heads":3})"), HasSubstr("4 attention heads do not divide"));
  EXPECT_THAT(refusal(R"({"tie_word_embeddings":"no"})"), HasSubstr("true or false"));
  EXPECT_THAT(error_of([&] { describe_vision(changed_config(folder, R"({"model_type":"dinov2"})", "clip")); }),
              HasSubstr("'dinov2' cannot be computed; there are: clip"));
  EXPECT_THAT(error_of([&] { describe_vision(changed_config(folder, R"({"hidden_act":"relu"})", "clip")); }),
              HasSubstr("hidden_act is \"relu\""));
  EXPECT_THAT(error_of([&] { describe_vision(golden("llama")); }), HasSubstr("'llama' cannot be computed"));
  write_file(folder.file("config.json"), "{\"model_type\":");
  EXPECT_THAT(error_of([&] { describe_decoder(folder.path()); }), HasSubstr("is not JSON"));
}

TEST(Pretrained, HowPicturesAreBroughtToTheViTIsTakenOrRefused) {
  const TemporaryFolder clip, open_clip;
  const auto of_clip = [&](const std::string& preprocessor) {
    write_file(clip.file("config.json"), read_file(golden("clip") + "/config.json"));
    write_file(clip.file("preprocessor_config.json"), preprocessor);
    return describe_vision(clip.path()).images;
  };
  EXPECT_EQ(of_clip(R"({"size": 14, "crop_size": 14, "resample": 3})").fit, Fit::crop);
  EXPECT_EQ(of_clip(R"({"size": {"shortest_edge": 14}, "crop_size": {"height": 14, "width": 14}})").fit, Fit::crop);
  EXPECT_EQ(of_clip(R"({"size": {"height": 14, "width": 14}, "do_center_crop": false})").fit, Fit::stretch);
  EXPECT_THAT(error_of([&] { of_clip(R"({"size": {"shortest_edge": 14}, "do_center_crop": false})"); }),
              HasSubstr("do_center_crop is false"));
  EXPECT_THAT(error_of([&] { of_clip(R"({"size": {"shortest_edge": 16}, "crop_size": 14})"); }),
              HasSubstr("size is {"));
  const auto of_open_clip = [&](const std::string& change) {
    nlohmann::json config = read_json(golden("open_clip") + "/open_clip_config.json");
    config.merge_patch(nlohmann::json::parse(change));
    write_file(open_clip.file("open_clip_config.json"), config.dump());
    return describe_vision(open_clip.path());
  };
  EXPECT_EQ(of_open_clip(R"({"preprocess_cfg": {"resize_mode": "squash"}})").images.fit, Fit::stretch);
  EXPECT_THAT(error_of([&] { of_open_clip(R"({"preprocess_cfg": {"resize_mode": "longest"}})"); }),
              HasSubstr("resize_mode is \"longest\""));
  EXPECT_EQ(of_open_clip(R"({"model_cfg": {"vision_cfg": {"norm_kwargs": {"eps": 1e-6}}}})").config.eps, 1e-6F);
}

TEST(Pretrained, DifferencesAreListedWithWhatWasExpected) {
  const TemporaryFolder folder;
  const auto source = open_weights(golden("llama"));
  NamedTensors tensors;
  for (const WeightEntry& entry : source->entries()) {
    if (entry.name == "model.norm.weight") continue;
    tensors.emplace_back(entry.name, source->read(entry.name));
    if (entry.name == "lm_head.weight") tensors.back().second = Tensor::zeros({47, 16}, DType::f32);
  }
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", Tensor::zeros({2}, DType::f32));
  tensors.emplace_back("model.layers.2.mlp.up_proj.weight", Tensor::zeros({24, 16}, DType::f32));
  write_safetensors(folder.file("model.safetensors"), tensors);
  const DecoderConfig config = describe_decoder(golden("llama")).config;
  const std::string text = error_of([&] { bind_decoder(config, open_weights(folder.path())); });
  EXPECT_THAT(text, HasSubstr("1 tensors are missing, of the shapes:\n  model.norm.weight [16]"));
  EXPECT_THAT(text, HasSubstr("1 tensors have other shapes:\n  lm_head.weight is [47, 16], expected [48, 16]"));
  EXPECT_THAT(text, HasSubstr("1 tensors have no place in the model:\n  model.layers.2.mlp.up_proj.weight [24, 16]"));
  EXPECT_THAT(text, Not(HasSubstr("inv_freq")));
  const VisionDescription vision = describe_vision(golden("clip"));
  EXPECT_THAT(error_of([&] { bind_vision(vision, open_weights(golden("llama"))); }),
              HasSubstr("vision_model.embeddings.patch_embedding.weight [16, 3, 7, 7]"));
}

TEST(Pretrained, FilesComeBeforePretrainedWeightsAndRandomOnes) {
  const TemporaryFolder folder;
  MultimodalConfig config;
  config.decoder = describe_decoder(golden("llama")).config;
  config.lora.rank = 2;
  Multimodal model(config, DType::f32, cpu());
  const PretrainedPart part = bind_decoder(config.decoder, open_weights(golden("llama")));
  write_safetensors(folder.file("a.safetensors"), {{"model.norm.weight", Tensor::full({16}, DType::f32, 3)}});
  load_weights(model, {part}, {folder.file("a.safetensors")});
  for (const NamedParameter& entry : all_parameters(model)) {
    if (entry.name == "model.norm.weight") {
      EXPECT_EQ(testing::values_of(entry.parameter->value), Values(16, 3.0));
    } else if (part.source->contains(entry.name)) {
      EXPECT_EQ(testing::values_of(entry.parameter->value), testing::values_of(part.source->read(entry.name)));
    } else {
      EXPECT_TRUE(entry.parameter->trainable) << entry.name;
    }
  }
  EXPECT_THAT(error_of([&] { load_weights(model, {}); }), HasSubstr("model.embed_tokens.weight [48, 16]"));
  write_safetensors(folder.file("a.safetensors"), {{"model.norm.weight", Tensor::full({15}, DType::f32, 3)}});
  EXPECT_THAT(error_of([&] { load_weights(model, {part}, {folder.file("a.safetensors")}); }),
              HasSubstr("model.norm.weight has shape [15], the model needs [16]"));
}

TEST(Pretrained, FilesWithAnotherLoraOrResamplerAreRefused) {
  const TemporaryFolder folder;
  TrainConfig config;
  config.model.decoder = "pico";
  config.model.vision = "vit-pico";
  testing::write_tiny_run(folder.path());
  config = *parse_config({"--config", folder.file("config.ini")});
  config.model.weights = {folder.file("trained.safetensors"), folder.file("more.safetensors")};
  config.model.train = {"resampler"};
  write_safetensors(folder.file("more.safetensors"), {{"resampler.of_another_kind", Tensor::zeros({1}, DType::f32)}});
  EXPECT_NO_THROW(assemble(config));  // the first has its resampler
  config.model.weights.pop_back();
  write_safetensors(folder.file("more.safetensors"),
                    {{"model.layers.0.self_attn.q_proj.lora_A.weight", Tensor::zeros({2, 2}, DType::f32)}});
  config.model.weights.push_back(folder.file("more.safetensors"));
  EXPECT_THAT(error_of([&] { assemble(config); }), HasSubstr("holds LoRA, which model.train leaves out"));
  config.model.weights.pop_back();
  config.model.resampler = "perceiver";
  EXPECT_THAT(error_of([&] { assemble(config); }), HasSubstr("not the one of model.resampler"));
}

TEST(Pretrained, AnAdapterOfPeftGoesOn) {
  const LoraOptions lora{.rank = 2, .alpha = 6, .targets = {"q_proj", "v_proj", "down_proj"}};
  for (const std::string& path : {golden("adapter"), golden("adapter") + "/adapter_model.safetensors"}) {
    const Tensor logits = testing::decoder_logits(golden("llama"), expected().read("tokens"), DType::f32, lora, {path});
    EXPECT_CLOSE(logits, testing::values_of(expected().read("adapter.logits")), 2e-6);
  }
}

TEST(Pretrained, AnAdapterWithOtherSettingsIsRefused) {
  TrainConfig config;
  config.model.lora_rank = 2;
  config.model.lora_alpha = 6;
  config.model.lora_targets = {"v_proj", "q_proj", "down_proj"};
  const std::vector<WeightFile> files = open_weight_files({golden("adapter")});
  EXPECT_NO_THROW(check_settings(files, config.model, 2));
  EXPECT_THAT(error_of([&] { check_settings(files, config.model, 1); }), HasSubstr("holds model.layers.1."));
  const auto refusal = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig model = config.model;
    change(model);
    return error_of([&] { check_settings(files, model, 2); });
  };
  EXPECT_THAT(refusal([](ModelConfig& m) { m.lora_alpha = 32; }), HasSubstr("model.lora_alpha 6, here 32"));
  EXPECT_THAT(refusal([](ModelConfig& m) { m.lora_rank = 4; }), HasSubstr("model.lora_rank 2, here 4"));
  EXPECT_THAT(refusal([](ModelConfig& m) { m.rslora = true; }), HasSubstr("model.rslora false, here true"));
  EXPECT_THAT(refusal([](ModelConfig& m) { m.lora_targets = {"q_proj"}; }),
              HasSubstr("model.lora_targets down_proj,q_proj,v_proj, here q_proj"));
  const TemporaryFolder folder;
  write_file(folder.file("adapter_model.safetensors"), read_file(golden("adapter") + "/adapter_model.safetensors"));
  EXPECT_THAT(error_of([&] { open_weight_files({folder.path()}); }), HasSubstr("is not beside it"));
  nlohmann::json dora = read_json(golden("adapter") + "/adapter_config.json");
  dora["use_dora"] = true;
  write_file(folder.file("adapter_config.json"), dora.dump());
  EXPECT_THAT(error_of([&] { open_weight_files({folder.path()}); }), HasSubstr("use_dora is true"));
}

TEST(Pretrained, GgufComputesTheSame) {
  const TemporaryFolder folder;
  const std::string path = testing::write_tiny_gguf(folder);
  EXPECT_FALSE(describe_decoder(path).config.tied);
  EXPECT_CLOSE(logits_of(path), testing::values_of(expected().read("llama.logits")), 2e-6);
  for (const char* key : {"rope.scale_linear", "rope.scaling.factor"}) {  // of positions, in files that name no type
    const auto scaled = [&](testing::GgufWriter& file) { file.add(std::string("llama.") + key, 4.0F); };
    EXPECT_THAT(error_of([&] { describe_decoder(testing::write_tiny_gguf(folder, scaled)); }),
                HasSubstr(std::string(key) + " is 4"));
  }
}

TEST(Pretrained, TheChatTemplateIsTheModelsOwn) {
  const TemporaryFolder folder;
  TrainConfig config;
  config.data.chat_template = "auto";
  config.model.decoder = folder.path();
  write_file(folder.file("config.json"), R"({"model_type": "llama"})");
  EXPECT_THAT(error_of([&] { chat_form(config); }), HasSubstr("comes without a chat template"));
  const auto form_of = [&](const std::string& jinja) {
    write_file(folder.file("tokenizer_config.json"), nlohmann::json{{"chat_template", jinja}}.dump());
    return chat_form(config);
  };
  EXPECT_EQ(form_of("{% for m in messages %}<|im_start|>{{ m.role }}<|im_end|>{% endfor %}"), "chatml");
  EXPECT_EQ(form_of("<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>"), "smollm2");
  EXPECT_EQ(form_of("{{ bos_token }}[INST] <<SYS>>"), "llama_2");
  EXPECT_THAT(error_of([&] { form_of("[INST] {{ m }} [/INST]"); }), HasSubstr("writes as none"));  // Mistral's
  write_file(folder.file("config.json"), R"({"model_type": "skywork"})");
  EXPECT_EQ(form_of(""), "skywork");
  config.model.decoder = testing::write_tiny_gguf(folder, [](testing::GgufWriter& file) {
    file.add("tokenizer.chat_template", std::string("<|im_start|><|im_end|>"));
  });
  std::filesystem::remove(folder.file("tokenizer_config.json"));
  EXPECT_EQ(chat_form(config), "chatml");
  config.data.chat_template = "plain";
  EXPECT_EQ(chat_form(config), "plain");
}

TrainConfig config_of(const std::string& decoder) {
  TrainConfig config;
  config.model.decoder = decoder;
  config.model.vision = "none";
  return config;
}

TEST(Pretrained, LimitsOfAModelAreChecked) {
  TrainConfig config = config_of(golden("mistral"));
  config.data.max_length = 32;
  EXPECT_EQ(open_pretrained(config, 48).decoder.vocabulary, 48);
  EXPECT_EQ(open_pretrained(config, 40).decoder.vocabulary, 48);  // a table may be larger than the tokenizer
  EXPECT_THAT(error_of([&] { open_pretrained(config, 49); }), HasSubstr("has 49 tokens"));
  config.data.max_length = 33;
  EXPECT_THAT(error_of([&] { open_pretrained(config, 48); }), HasSubstr("sliding window of 32 tokens"));
}

}  // namespace
}  // namespace skymm
