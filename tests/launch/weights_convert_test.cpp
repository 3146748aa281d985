#include "launch/assembly/weights_convert.hpp"

#include "io/weights/quantized.hpp"
#include "launch/config/options.hpp"
#include "ops/models/multimodal.hpp"
#include "support/logits.hpp"
#include "support/tiny_gguf.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::vector<float> plain(const QuantizedTensor& codes) {
  const Tensor values = Tensor::empty(codes.shape, DType::f32);
  kernels(values).dequantize(codes, values);
  return values.to_vector();
}

TEST(WeightsConvert, QuantizesTheLinearWeightsOfBlocksAlone) {
  const TemporaryFolder folder;
  const std::string random = folder.file("random.safetensors"), few = folder.file("few.safetensors");
  ASSERT_EQ(synthesize_command({"--preset", "pico", "--out", random, "--format", "f32"}), 0);
  const SafetensorsReader in(random);
  EXPECT_EQ(in.entries().size(), 16U * 9 + 2);  // a tied head has no weight of its own
  for (const char* format : {"nf4", "int8"}) {
    ASSERT_EQ(convert_command({random, few, "--format", format}), 0);
    const SafetensorsReader out(few);
    const std::string name = "model.layers.3.mlp.gate_proj.weight";
    const QuantizedTensor codes = read_quantized(out, name);
    EXPECT_EQ(name_of(codes.format), format);
    EXPECT_EQ(codes.shape, Shape({160, 64}));
    const QuantizedTensor expected = QuantizedTensor::empty(codes.shape, {codes.format, false});
    kernels(codes.codes).quantize(in.read(name), expected);
    EXPECT_EQ(plain(codes), plain(expected));
    EXPECT_EQ(weight_names(out).size(), 16U * 9 + 2);
    EXPECT_EQ(out.entry("model.embed_tokens.weight").dtype, "BF16");
    EXPECT_EQ(out.entry("model.layers.3.input_layernorm.weight").dtype, "BF16");
  }
}

TEST(WeightsConvert, IsTheSameWhenDoneInOneStepOrTwo) {
  const TemporaryFolder folder;
  const auto file = [&](const char* name) { return folder.file(name); };
  const std::vector<std::string> nf4{"--format", "nf4", "--double-quantization", "true"};
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  ASSERT_EQ(synthesize_command(with({"--preset", "pico", "--out", file("a")}, nf4)), 0);
  ASSERT_EQ(synthesize_command({"--preset", "pico", "--out", file("plain"), "--format", "f32"}), 0);
  ASSERT_EQ(convert_command(with({file("plain"), file("b")}, nf4)), 0);
  EXPECT_EQ(read_file(file("a")), read_file(file("b")));
  ASSERT_EQ(convert_command({file("a"), file("c"), "--format", "f32"}), 0);  // and back
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(SafetensorsReader(file("c")).read(name).to_vector(),
            plain(read_quantized(SafetensorsReader(file("a")), name)));
}

// A run loads the same frozen weights from a file in few bits and from the plain one.
TEST(WeightsConvert, FilesLoadAsTheyWouldBeMade) {
  const TemporaryFolder folder;
  testing::write_tiny_run(folder.path());
  TrainConfig config = *parse_config({"--config", folder.file("config.ini")});
  config.model.weights = {folder.file("trained.safetensors")};
  config.model.train = {"resampler", "lora"};
  config.model.frozen_format = "nf4";
  config.model.double_quantization = true;
  const Assembly made = assemble(config);
  ASSERT_EQ(convert_command({folder.file("trained.safetensors"), folder.file("few.safetensors"), "--format", "nf4",
                             "--double-quantization", "true"}),
            0);
  config.model.weights = {folder.file("few.safetensors")};
  const Assembly read = assemble(config);
  const auto quantized = [](const Assembly& assembly) {
    std::vector<std::vector<float>> all;
    for (const NamedParameter& entry : all_parameters(*assembly.model)) {
      if (entry.parameter->quantized.defined()) all.push_back(plain(entry.parameter->quantized));
    }
    return all;
  };
  EXPECT_EQ(quantized(made).size(), 16U * 7 + 2 * 6 + 1);
  EXPECT_EQ(quantized(made), quantized(read));

  config.model.frozen_format = "dtype";
  const Assembly dense = assemble(config);  // codes are good for a plain model too
  EXPECT_NE(dense.frozen_hash, read.frozen_hash);
}

// The decoder at `path`, its linear weights in NF4.
std::vector<std::vector<float>> quantized_decoder(const std::string& path) {
  MultimodalConfig config;
  config.decoder = describe_decoder(path).config;
  config.quantization = Quantization{QuantizedFormat::nf4, false};
  Multimodal model(config, DType::bf16, cpu());
  testing::load_weights(model, {bind_decoder(config.decoder, open_weights(path))});
  std::vector<std::vector<float>> all;
  for (const NamedParameter& entry : all_parameters(model)) {
    const Parameter& p = *entry.parameter;
    if (!p.trainable) all.push_back(p.quantized.defined() ? plain(p.quantized) : p.value.to_vector());
  }
  return all;
}

TEST(WeightsConvert, AModelsFolderBecomesOneThatModelDecoderTakes) {
  const std::string golden = std::string(SKYMM_SOURCE_DIR) + "/tests/golden/pretrained/";
  for (const std::string name : {"llama", "mistral", "qwen2"}) {  // the second lies in several files
    const TemporaryFolder folder;
    const std::string few = folder.file("few");
    ASSERT_EQ(convert_command({golden + name, few, "--format", "nf4"}), 0);
    EXPECT_EQ(read_file(few + "/config.json"), read_file(golden + name + "/config.json"));
    EXPECT_TRUE(has_quantized(*open_weights(few), "model.layers.1.mlp.up_proj.weight"));
    EXPECT_EQ(quantized_decoder(few), quantized_decoder(golden + name)) << name;
  }
  const TemporaryFolder folder;
  ASSERT_EQ(convert_command({golden + "clip", folder.file("few"), "--format", "int8"}), 0);
  const VisionDescription vision = describe_vision(folder.file("few"));
  EXPECT_NO_THROW(bind_vision(vision, open_weights(folder.file("few"))));
  EXPECT_THAT(error_of([&] {
                convert_command({folder.file("few"), folder.file("few"), "--format", "bf16"});
              }),
              HasSubstr("would be written over"));
}

TEST(WeightsConvert, AGgufFileBecomesAFolder) {
  const TemporaryFolder folder;
  const std::string gguf = testing::write_tiny_gguf(folder), out = folder.file("plain");
  ASSERT_EQ(convert_command({gguf, out, "--format", "f32"}), 0);
  const auto expected = open_weights(std::string(SKYMM_SOURCE_DIR) + "/tests/golden/pretrained/expected.safetensors");
  EXPECT_CLOSE(testing::decoder_logits(out, expected->read("tokens")),
               testing::values_of(expected->read("llama.logits")), 2e-6);
  ASSERT_EQ(convert_command({gguf, folder.file("alone.safetensors")}), 0);
  EXPECT_TRUE(SafetensorsReader(folder.file("alone.safetensors")).contains("model.norm.weight"));
}

TEST(WeightsConvert, WhatAFileTellsOfItsTrainingStays) {
  const TemporaryFolder folder;
  write_safetensors(folder.file("a.safetensors"), {{"resampler.query", Tensor::zeros({2, 2}, DType::f32)}},
                    {{"model.queries", "2"}, {"frozen.vision", "1f"}});
  ASSERT_EQ(convert_command({folder.file("a.safetensors"), folder.file("b.safetensors")}), 0);
  EXPECT_EQ(SafetensorsReader(folder.file("b.safetensors")).metadata().at("model.queries"), "2");
  EXPECT_EQ(SafetensorsReader(folder.file("b.safetensors")).metadata().at("frozen.vision"), "1f");
}

TEST(WeightsConvert, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([] { convert_command({"one"}); }), HasSubstr("takes two paths"));
  EXPECT_THAT(error_of([] { convert_command({"nowhere", "b"}); }), HasSubstr("cannot open nowhere"));
  EXPECT_THAT(error_of([&] {
                synthesize_command({"--preset", "pico", "--out", folder.file("x"), "--format", "int3"});
              }),
              HasSubstr("int3 is unknown"));
  EXPECT_THAT(error_of([&] {
                synthesize_command({"--preset", "pico", "--out", folder.file("x"), "--double-quantization", "true"});
              }),
              HasSubstr("is for --format nf4"));
  EXPECT_THAT(error_of([&] {
                synthesize_command({"--preset", "big", "--out", folder.file("x")});
              }),
              HasSubstr("there is no decoder preset called 'big'"));
  ASSERT_EQ(synthesize_command({"--preset", "pico", "--out", folder.file("x"), "--format", "int8"}), 0);
  const SafetensorsReader file(folder.file("x"));
  EXPECT_THAT(error_of([&] { read_quantized(file, "model.norm.weight"); }), HasSubstr("no quantised weight"));
}

}  // namespace
}  // namespace skymm
