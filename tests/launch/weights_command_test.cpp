// skymm weights: what PEFT wrote is merged as PEFT computes it, and what a run trained is written as PEFT writes it.
#include "launch/weights_command.hpp"

#include <filesystem>

#include "io/file.hpp"
#include "io/json.hpp"
#include "io/tokenizer.hpp"
#include "launch/assembly/adapter.hpp"
#include "launch/assembly/pretrained.hpp"
#include "launch/config/options.hpp"
#include "support/checkpoint.hpp"
#include "support/logits.hpp"
#include "support/support.hpp"
#include "support/tiny_gguf.hpp"
#include "support/tiny_training.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using Words = std::vector<std::string>;

const std::string golden = std::string(SKYMM_SOURCE_DIR) + "/tests/golden/pretrained/";

std::string output_of(const Words& arguments) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(weights_command(arguments), 0);
  return ::testing::internal::GetCapturedStdout();
}

TEST(WeightsCommand, MergedLoraComputesWhatPeftDoes) {
  const TemporaryFolder folder;
  const std::string out = folder.file("merged");
  output_of({"merge", "--adapter", golden + "adapter", "--base", golden + "llama", "--out", out});
  const auto expected = open_weights(golden + "expected.safetensors");
  const Tensor tokens = expected->read("tokens");
  EXPECT_CLOSE(testing::decoder_logits(out, tokens), testing::values_of(expected->read("adapter.logits")), 2e-6);
  EXPECT_EQ(read_file(out + "/config.json"), read_file(golden + "llama/config.json"));
  EXPECT_EQ(open_weights(out)->metadata().at("format"), "pt");
  const std::string shards = folder.file("shards");
  output_of(
      {"merge", "--adapter", golden + "adapter", "--base", golden + "llama", "--out", shards, "--shard-gb=0.00001"});
  EXPECT_GT(open_weights(shards)->files().size(), 1u);
  EXPECT_EQ(testing::values_of(testing::decoder_logits(shards, tokens)),
            testing::values_of(testing::decoder_logits(out, tokens)));
  output_of({"merge", "--adapter", golden + "adapter", "--base", golden + "llama", "--out", out});  // the same again
  const auto merge_into = [&](const std::string& folder, const std::string& gigabytes) {
    return error_of([&] {
      weights_command({"merge", "--adapter", golden + "adapter", "--base", golden + "llama", "--out", folder,
                       "--shard-gb=" + gigabytes});
    });
  };
  EXPECT_THAT(merge_into(out, "0.00001"), HasSubstr("holds another model already (model.safetensors)"));
  EXPECT_THAT(merge_into(shards, "5"), HasSubstr("holds another model already"));
}

// What a GGUF file says of itself that a folder of Hugging Face's has in files of its own.
void add_byte_level_tokenizer(testing::GgufWriter& file) {
  file.add("tokenizer.ggml.model", std::string("gpt2"));
  file.add("tokenizer.ggml.pre", std::string("smollm"));
  file.add("tokenizer.ggml.tokens",
           std::vector<std::string>{"<|start|>", "<|end|>", "a", "b", "ab", "\u0120", "\u0120ab", "1", "<|mark|>"});
  file.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {3, 3, 1, 1, 1, 1, 1, 1, 4});
  file.add("tokenizer.ggml.merges", std::vector<std::string>{"a b", "\u0120 ab"});
  file.add("tokenizer.ggml.bos_token_id", 0U);
  file.add("tokenizer.ggml.eos_token_id", 1U);
  file.add("tokenizer.ggml.add_bos_token", true);
  file.add("tokenizer.chat_template", std::string("{{ messages }}"));
}

void add_sentencepiece_tokenizer(testing::GgufWriter& file) {
  file.add("tokenizer.ggml.model", std::string("llama"));
  file.add("tokenizer.ggml.tokens",
           std::vector<std::string>{"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"});
  file.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 3, 1, 1, 1, 1, 1});
  file.add_numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -3, -4, -5, -1, -2});
  for (const auto& [name, id] : {std::pair{"unknown", 0U}, {"bos", 1U}, {"eos", 2U}}) {
    file.add(fmt::format("tokenizer.ggml.{}_token_id", name), id);
  }
}

TEST(WeightsCommand, AGgufBaseLeavesItsConfigurationAndTokenizer) {
  for (const bool byte_level : {true, false}) {
    const TemporaryFolder folder;
    const std::string base =
        testing::write_tiny_gguf(folder, byte_level ? add_byte_level_tokenizer : add_sentencepiece_tokenizer);
    const std::string out = folder.file("merged");
    output_of({"merge", "--adapter", golden + "adapter", "--base", base, "--out", out});
    const auto expected = open_weights(golden + "expected.safetensors");
    EXPECT_CLOSE(testing::decoder_logits(out, expected->read("tokens")),
                 testing::values_of(expected->read("adapter.logits")), 2e-6);
    const nlohmann::json config = read_json(out + "/config.json");
    EXPECT_EQ(config["torch_dtype"], "float32");
    EXPECT_EQ(config["bos_token_id"], byte_level ? 0 : 1);
    EXPECT_EQ(config["eos_token_id"], byte_level ? 1 : 2);
    EXPECT_TRUE(config["pad_token_id"].is_null());
    const auto theirs = load_tokenizer(base), ours = load_tokenizer(out);
    for (const char* text : {"ab ab", "abb1 a<|mark|>11", " b", "a"}) {
      EXPECT_EQ(ours->encode(text), theirs->encode(text)) << text;
    }
    EXPECT_EQ(ours->vocab_size(), theirs->vocab_size());
    EXPECT_EQ(ours->bos(), theirs->bos());
    EXPECT_EQ(ours->eos(), theirs->eos());
    const nlohmann::json tokenizer = read_json(out + "/tokenizer_config.json");
    EXPECT_EQ(tokenizer["eos_token"], byte_level ? "<|end|>" : "</s>");
    EXPECT_EQ(tokenizer["add_bos_token"], true);
    if (byte_level) {
      const nlohmann::json front = read_json(out + "/tokenizer.json")["post_processor"]["single"][0];
      EXPECT_EQ(front["SpecialToken"]["id"], "<|start|>");
    }
    EXPECT_EQ(tokenizer.value("chat_template", ""), byte_level ? "{{ messages }}" : "");
  }
}

TEST(WeightsCommand, AGgufBaseWithoutATokenizerIsMergedAllTheSame) {
  const TemporaryFolder folder;
  const std::string base = testing::write_tiny_gguf(folder), out = folder.file("merged");
  EXPECT_THAT(output_of({"merge", "--adapter", golden + "adapter", "--base", base, "--out", out}),
              HasSubstr("has no tokenizer"));
  EXPECT_TRUE(read_json(out + "/config.json")["bos_token_id"].is_null());
}

TEST(WeightsCommand, AdaptersAreReadAndWrittenAsPeftDoes) {
  const TemporaryFolder folder;
  const Adapter adapter = read_adapter(golden + "adapter");
  EXPECT_EQ(adapter.rank, 2);
  EXPECT_EQ(adapter.scaling(), 3);
  EXPECT_EQ(adapter.targets, (Words{"down_proj", "q_proj", "v_proj"}));
  write_adapter(adapter, folder.path());
  const auto ours = open_weights(folder.file("adapter_model.safetensors"));
  const auto theirs = open_weights(golden + "adapter/adapter_model.safetensors");
  EXPECT_EQ(ours->entries().size(), theirs->entries().size());
  for (const WeightEntry& entry : theirs->entries()) {
    EXPECT_EQ(ours->stored(ours->entry(entry.name)), theirs->stored(entry)) << entry.name;
  }
  const nlohmann::json written = read_json(folder.file("adapter_config.json"));
  const nlohmann::json peft = read_json(golden + "adapter/adapter_config.json");
  for (const auto& [key, value] : written.items()) EXPECT_EQ(value, peft.at(key)) << key;
}

TEST(WeightsCommand, WhatIsNotPlainLoraIsRefused) {
  const TemporaryFolder folder;
  write_file(folder.file("adapter_model.safetensors"), read_file(golden + "adapter/adapter_model.safetensors"));
  const nlohmann::json whole = read_json(golden + "adapter/adapter_config.json");
  const auto refusal = [&](const std::string& change) {
    nlohmann::json config = whole;
    config.merge_patch(nlohmann::json::parse(change));
    write_file(folder.file("adapter_config.json"), config.dump());
    return error_of([&] { read_adapter(folder.path()); });
  };
  EXPECT_THAT(refusal(R"({"peft_type":"IA3"})"), HasSubstr("peft_type is \"IA3\""));
  EXPECT_THAT(refusal(R"({"use_dora":true})"), HasSubstr("use_dora is true"));
  EXPECT_THAT(refusal(R"({"modules_to_save":["lm_head"]})"), HasSubstr("modules_to_save"));
  EXPECT_THAT(refusal(R"({"rank_pattern":{"q_proj":4}})"), HasSubstr("rank_pattern"));
  EXPECT_THAT(refusal(R"({"init_lora_weights":"pissa"})"), HasSubstr("init_lora_weights is \"pissa\""));
  EXPECT_THAT(refusal(R"({"layer_replication":[[0,2]]})"), HasSubstr("layer_replication"));
  EXPECT_THAT(refusal(R"({"bias":"all"})"), HasSubstr("bias is \"all\""));
  EXPECT_THAT(refusal(R"({"r":3})"), HasSubstr("the rank is 3"));
  EXPECT_THAT(refusal(R"({"r":-3})"), HasSubstr("positive numbers"));
  write_file(folder.file("adapter_config.json"), whole.dump());
  NamedTensors tensors = read_adapter(folder.path()).tensors;
  tensors.pop_back();
  for (auto& [name, x] : tensors) name = "base_model.model." + name;
  write_safetensors(folder.file("adapter_model.safetensors"), tensors);
  EXPECT_THAT(error_of([&] { read_adapter(folder.path()); }), HasSubstr("only one of lora_A and lora_B"));
  EXPECT_THAT(error_of([&] { merged(*open_weights(golden + "clip"), read_adapter(golden + "adapter")); }),
              HasSubstr("has no tensor 'model.layers.0."));
}

TEST(WeightsCommand, ARunIsExportedAsItTrained) {
  const TemporaryFolder folder;
  const TrainConfig config = testing::tiny_training(folder.file("tiny"));
  const Assembly assembly = assemble(config);
  NamedTensors trained;
  std::uint64_t seed = 1;
  for (const NamedParameter& entry : trainable_parameters(*assembly.model)) {
    trained.emplace_back(entry.name, testing::random_tensor(entry.parameter->shape, DType::f32, ++seed));
  }
  std::filesystem::create_directories(config.run.dir);
  write_file(config.run.dir + "/config.ini", to_ini(config));
  EXPECT_THAT(error_of([&] { read_trained(config.run.dir); }),
              HasSubstr("neither trained.safetensors nor a checkpoint"));
  write_safetensors(config.run.dir + "/trained.safetensors", trained);
  const std::string out = folder.file("export");
  output_of({"export", "--run", config.run.dir, "--out", out});
  const Adapter adapter = read_adapter(out);
  EXPECT_EQ(adapter.rank, config.model.lora_rank);
  EXPECT_EQ(adapter.scaling(), config.model.lora_alpha / static_cast<float>(config.model.lora_rank));
  EXPECT_EQ(adapter.targets.size(), 7u);
  const auto file = open_weights(out + "/adapter_model.safetensors");
  const auto resampler = open_weights(out + "/resampler.safetensors");
  for (const auto& [name, x] : trained) {
    const bool lora = name.find(".lora_") != std::string::npos;
    const Tensor written = lora ? file->read("base_model.model." + name) : resampler->read(name);
    EXPECT_EQ(testing::values_of(written), testing::values_of(x)) << name;
  }
  EXPECT_EQ(file->entries().size() + resampler->entries().size(), trained.size());
  EXPECT_EQ(read_json(out + "/resampler_config.json")["queries"], config.model.queries);

  TrainConfig next = config;  // and goes on from what was exported
  next.model.weights.push_back(out);
  const Assembly again = assemble(next);
  const std::map<std::string, Tensor> values(trained.begin(), trained.end());
  for (const NamedParameter& entry : trainable_parameters(*again.model)) {
    EXPECT_EQ(testing::values_of(entry.parameter->value), testing::values_of(values.at(entry.name))) << entry.name;
  }
  next.model.resampler = "perceiver";
  EXPECT_THAT(error_of([&] { assemble(next); }), HasSubstr("model.resampler qwen, here perceiver"));
}

// Random values of each of a part's weights, and what its source has in their place otherwise.
void add_trained(NamedTensors& trained, const PretrainedPart& part) {
  for (const auto& [name, place] : part.places) {
    const Tensor whole = part.source->read(place.tensor);
    const Tensor rows = place.end < 0 ? whole : whole.slice(0, place.begin, place.end);
    trained.emplace_back(name, testing::random_tensor(rows.shape(), DType::f32, trained.size() + 1));
  }
}

TEST(WeightsCommand, WholeModelsThatTrainedAreWritten) {
  const TemporaryFolder folder;
  TrainConfig config = testing::tiny_training(folder.file("tiny"));
  config.model.decoder = golden + "qwen2";
  config.model.vision = golden + "open_clip";  // keeps q, k and v in one matrix
  config.model.train = {"vision", "resampler", "decoder"};
  const PretrainedPart decoder =
      bind_decoder(describe_decoder(golden + "qwen2").config, open_weights(golden + "qwen2"));
  const VisionDescription tower = describe_vision(golden + "open_clip");
  const PretrainedPart vision = bind_vision(tower, open_weights(golden + "open_clip"));
  NamedTensors trained;
  add_trained(trained, decoder);
  add_trained(trained, vision);
  trained.emplace_back("resampler.query", Tensor::zeros({4, 16}, DType::f32));
  std::filesystem::create_directories(config.run.dir);
  write_file(config.run.dir + "/config.ini", to_ini(config));
  write_safetensors(config.run.dir + "/trained.safetensors", trained);
  const std::string llm = folder.file("llm"), vit = folder.file("vit");
  output_of({"merge", "--run", config.run.dir, "--out", llm, "--vision-out", vit});
  EXPECT_EQ(read_file(llm + "/config.json"), read_file(golden + "qwen2/config.json"));
  const std::vector<PretrainedPart> written = {bind_decoder(describe_decoder(llm).config, open_weights(llm)),
                                               bind_vision(describe_vision(vit), open_weights(vit))};
  for (const auto& [name, x] : trained) {
    for (const PretrainedPart& part : written) {
      const auto place = part.places.find(name);
      if (place == part.places.end()) continue;
      const Tensor whole = part.source->read(place->second.tensor);
      const Tensor rows = place->second.end < 0 ? whole : whole.slice(0, place->second.begin, place->second.end);
      EXPECT_EQ(testing::values_of(rows), testing::values_of(x)) << name;
    }
  }
  const auto before = open_weights(golden + "open_clip");  // what the run had no use for stays
  EXPECT_EQ(open_weights(vit)->entries().size(), before->entries().size());
  EXPECT_EQ(testing::values_of(open_weights(vit)->read("visual.proj")),
            testing::values_of(before->read("visual.proj")));
  EXPECT_THAT(
      error_of([&] {
        weights_command({"merge", "--run", config.run.dir, "--base", golden + "llama", "--out", folder.file("x")});
      }),
      HasSubstr("it is another model"));
}

TEST(WeightsCommand, AnAdapterIsMergedIntoAQuantizedBase) {
  const TemporaryFolder folder;
  const std::string few = folder.file("few"), out = folder.file("out");
  output_of({"convert", golden + "llama", few, "--format", "int8"});
  output_of({"merge", "--adapter", golden + "adapter", "--base", few, "--out", out});
  const auto expected = open_weights(golden + "expected.safetensors");
  EXPECT_CLOSE(testing::decoder_logits(out, expected->read("tokens")),
               testing::values_of(expected->read("adapter.logits")), 3e-2);
}

TEST(WeightsCommand, InspectListsTensors) {
  const std::string text = output_of({"inspect", golden + "mistral"});
  EXPECT_THAT(text, HasSubstr("model-00004-of-00004.safetensors"));
  EXPECT_THAT(text, HasSubstr("model.layers.1.self_attn.q_proj.weight"));
  EXPECT_THAT(text, HasSubstr("[24, 16]"));
  EXPECT_THAT(text, HasSubstr("21 tensors (21 F32)"));
  const auto source = open_weights(golden + "llama");
  const std::string_view bytes = source->stored(source->entry("model.norm.weight"));
  const std::string hash = fmt::format("{:016x}", hash64(bytes.data(), bytes.size()));
  EXPECT_THAT(output_of({"inspect", golden + "llama"}), HasSubstr(hash));
  EXPECT_THAT(output_of({"inspect", golden + "llama", "--hash", "false"}), ::testing::Not(HasSubstr(hash)));
}

TEST(WeightsCommand, InspectTellsOfCheckpointsAndWhetherTheyAreWhole) {
  const TemporaryFolder folder;
  const std::string path = folder.file("step_00000007.h5");
  const testing::SomeCheckpoint checkpoint = testing::some_checkpoint();
  testing::save_checkpoint(path, checkpoint);
  const std::string text = output_of({"inspect", path});
  for (const char* part : {"checkpoint after step 7, 5 tensors, format 2", "6 updates", "written on 2 x 2",
                           "resampler.queries", "[4, 1000]", "16000", "/models/熊猫.safetensors, 1234 bytes",
                           "XXH64 fedcba9876543210", "every checksum is right"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  std::string bytes = read_file(path);
  const auto& v = checkpoint.tensors[0].arrays[2];
  bytes[bytes.find(std::string(reinterpret_cast<const char*>(v.data()), 64))] ^= 1;
  write_file(path, bytes);
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(weights_command({"inspect", path}), 1);
  const std::string damaged = ::testing::internal::GetCapturedStdout();
  EXPECT_THAT(damaged, HasSubstr("1 tensors are DAMAGED"));
  EXPECT_THAT(damaged, HasSubstr("resampler.queries/v"));
  EXPECT_THAT(output_of({"inspect", path, "--hash", "false"}), HasSubstr("not checked"));
}

TEST(WeightsCommand, MistakesAreNamed) {
  EXPECT_THAT(error_of([] {
                weights_command({"merge", "--out", "x"});
              }),
              HasSubstr("one of --adapter DIR and --run DIR"));
  EXPECT_THAT(error_of([] { weights_command({"inspect"}); }), HasSubstr("which weights?"));
  EXPECT_THAT(error_of([] { weights_command({"inspct"}); }), HasSubstr("did you mean 'inspect'"));
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] {
                weights_command({"merge", "--adapter", golden + "adapter", "--out", folder.path()});
              }),
              HasSubstr("'llama', which is not a path"));
  EXPECT_THAT(error_of([&] {
                weights_command({"export", "--run", folder.path(), "--out", folder.file("x")});
              }),
              HasSubstr("is no run directory"));
}

}  // namespace
}  // namespace skymm
