#include "io/weights/gguf.hpp"

#include <cmath>

#include "io/file.hpp"
#include "support/gguf_writer.hpp"
#include "support/mutations.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::Values;

// IEEE half precision, of finite values.
double half_value(const std::string& bytes, std::size_t at) {
  const unsigned bits = static_cast<std::uint8_t>(bytes[at]) | static_cast<std::uint8_t>(bytes[at + 1]) << 8;
  const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  const double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 ? -size : size;
}

// `count` bits from bit `first` on, counted through the bytes from the lowest bit of the first.
int bits(const std::string& bytes, std::size_t first, int count) {
  int value = 0;
  for (int i = 0; i < count; ++i) {
    const std::size_t bit = first + static_cast<std::size_t>(i);
    value |= (static_cast<std::uint8_t>(bytes[bit / 8]) >> bit % 8 & 1) << i;
  }
  return value;
}

int signed_byte(const std::string& bytes, std::size_t at) {
  const int value = static_cast<std::uint8_t>(bytes[at]);
  return value < 128 ? value : value - 256;
}

// The four bits of element i of a group of `width`, whose first half lies in the low halves of the bytes.
int four(const std::string& b, std::size_t at, std::size_t i, std::size_t width) {
  return bits(b, 8 * (at + i % (width / 2)) + (i < width / 2 ? 0 : 4), 4);
}

// Scale (minimum: the second) of sub-block `s` of Q4_K and Q5_K, from its 12 bytes at `at`.
int six(const std::string& b, std::size_t at, std::size_t s, bool minimum) {
  if (s < 4) return bits(b, 8 * (at + s + (minimum ? 4 : 0)), 6);
  const int lower = bits(b, 8 * (at + s + 4) + (minimum ? 4 : 0), 4);
  return lower + 16 * bits(b, 8 * (at + s - 4 + (minimum ? 4 : 0)) + 6, 2);
}

struct BlockFormat {
  std::string name;
  std::uint32_t id;
  std::size_t elements, bytes;
  std::vector<std::size_t> halves;  // where scales of 16 bits are
  std::function<double(const std::string& block, std::size_t element)> value;
};

const std::vector<BlockFormat>& block_formats() {
  static const std::vector<BlockFormat> table = {
      {"Q4_0",
       2,
       32,
       18,
       {0},
       [](const std::string& b, std::size_t i) { return half_value(b, 0) * (four(b, 2, i, 32) - 8); }},
      {"Q4_1",
       3,
       32,
       20,
       {0, 2},
       [](const std::string& b, std::size_t i) { return half_value(b, 0) * four(b, 4, i, 32) + half_value(b, 2); }},
      {"Q5_0",
       6,
       32,
       22,
       {0},
       [](const std::string& b, std::size_t i) {
         return half_value(b, 0) * (four(b, 6, i, 32) + 16 * bits(b, 16 + i, 1) - 16);
       }},
      {"Q5_1",
       7,
       32,
       24,
       {0, 2},
       [](const std::string& b, std::size_t i) {
         return half_value(b, 0) * (four(b, 8, i, 32) + 16 * bits(b, 32 + i, 1)) + half_value(b, 2);
       }},
      {"Q8_0",
       8,
       32,
       34,
       {0},
       [](const std::string& b, std::size_t i) { return half_value(b, 0) * signed_byte(b, 2 + i); }},
      {"Q4_K",
       12,
       256,
       144,
       {0, 2},
       [](const std::string& b, std::size_t i) {
         const int q = four(b, 16 + i / 64 * 32, i % 64, 64);
         return half_value(b, 0) * six(b, 4, i / 32, false) * q - half_value(b, 2) * six(b, 4, i / 32, true);
       }},
      {"Q5_K",
       13,
       256,
       176,
       {0, 2},
       [](const std::string& b, std::size_t i) {
         const int q = four(b, 48 + i / 64 * 32, i % 64, 64) + 16 * bits(b, 8 * (16 + i % 32) + i / 32, 1);
         return half_value(b, 0) * six(b, 4, i / 32, false) * q - half_value(b, 2) * six(b, 4, i / 32, true);
       }},
      {"Q6_K",
       14,
       256,
       210,
       {208},
       [](const std::string& b, std::size_t i) {
         const std::size_t part = i / 128, within = i % 128;
         const int low = four(b, 64 * part, within, 128);
         const int high = bits(b, 8 * (128 + 32 * part + within % 32) + within / 32 * 2, 2);
         return half_value(b, 208) * signed_byte(b, 192 + i / 16) * (low + 16 * high - 32);
       }},
  };
  return table;
}

// Blocks of random bits with scales below 1.
std::string random_blocks(const BlockFormat& format, std::size_t count, std::mt19937& random) {
  std::string bytes(count * format.bytes, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (std::size_t i = 0; i < count; ++i) {
    for (const std::size_t at : format.halves) bytes[i * format.bytes + at + 1] &= '\xB7';  // exponent at most 13
  }
  return bytes;
}

std::string write(const TemporaryFolder& folder, const GgufWriter& writer) {
  write_file(folder.file("w.gguf"), writer.file());
  return folder.file("w.gguf");
}

TEST(Gguf, BlocksAreDequantisedAsTheFormatSays) {
  const TemporaryFolder folder;
  std::mt19937 random(5);
  for (const BlockFormat& format : block_formats()) {
    SCOPED_TRACE(format.name);
    constexpr std::size_t rows = 3, row_blocks = 2;
    const std::string bytes = random_blocks(format, rows * row_blocks, random);
    GgufWriter writer;
    writer.tensor("x", {row_blocks * format.elements, rows}, format.id, bytes);
    const GgufFile file(write(folder, writer));
    EXPECT_EQ(file.entry("x").dtype, format.name);
    Values expected;
    for (std::size_t block = 0; block < rows * row_blocks; ++block) {
      const std::string one = bytes.substr(block * format.bytes, format.bytes);
      for (std::size_t i = 0; i < format.elements; ++i) expected.push_back(format.value(one, i));
    }
    const Tensor x = file.read("x");
    EXPECT_EQ(x.dtype(), DType::f32);
    const Values values = testing::values_of(x);
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], expected[i], 1e-6 * (1 + std::abs(expected[i])));
    EXPECT_EQ(testing::values_of(file.read_rows("x", 1, 3)), testing::values_of(x.slice(0, 1, 3)));
    const Tensor to = Tensor::zeros({2, x.dim(1)}, DType::bf16);
    file.read_into("x", 1, 3, to);
    EXPECT_EQ(testing::values_of(to), testing::values_of(x.slice(0, 1, 3).to(DType::bf16)));
  }
}

TEST(Gguf, PlainTensorsOfBothVersions) {
  const TemporaryFolder folder;
  for (const std::uint32_t version : {2U, 3U}) {
    GgufWriter writer(version, 64);
    writer.add("general.alignment", std::uint32_t{64});
    writer.tensor("f32", {3, 2}, {1, 2, 3, 4, 5, -6});
    writer.tensor("f16", {2}, 1, std::string("\x00\x3C\x00\xC0", 4));
    writer.tensor("bf16", {2, 1}, 30, std::string("\x80\x3F\x00\xC0", 4));
    const GgufFile file(write(folder, writer));
    EXPECT_EQ(file.read("f32").shape(), (Shape{2, 3}));
    EXPECT_EQ(testing::values_of(file.read("f32")), (Values{1, 2, 3, 4, 5, -6}));
    EXPECT_EQ(file.read("f16").dtype(), DType::f16);
    EXPECT_EQ(testing::values_of(file.read("f16")), (Values{1, -2}));
    EXPECT_EQ(testing::values_of(file.read_rows("f16", 1, 2)), (Values{-2}));
    EXPECT_EQ(testing::values_of(file.read("bf16")), (Values{1, -2}));
  }
}

TEST(Gguf, ValuesAreKept) {
  const TemporaryFolder folder;
  GgufWriter writer;
  writer.add("general.architecture", std::string("llama"));
  writer.add("llama.block_count", std::uint32_t{30});
  writer.add("llama.rope.freq_base", 1e5F);
  writer.add("tokenizer.ggml.add_bos_token", true);
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "\u2581b"});
  writer.add_numbers<float>("tokenizer.ggml.scores", 6, {0.5F, -2});
  writer.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {1, 3});
  const GgufFile file(write(folder, writer));
  EXPECT_TRUE(file.entries().empty());
  EXPECT_EQ(file.architecture(), "llama");
  EXPECT_EQ(file.integer("llama.block_count"), 30);
  EXPECT_EQ(file.number("llama.rope.freq_base"), 1e5);
  EXPECT_TRUE(file.flag("tokenizer.ggml.add_bos_token", false));
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens")[1], "\u2581b");
  EXPECT_EQ(file.numbers("tokenizer.ggml.scores"), (std::vector<double>{0.5, -2}));
  EXPECT_EQ(file.numbers("tokenizer.ggml.token_type"), (std::vector<double>{1, 3}));
  EXPECT_EQ(file.metadata().at("tokenizer.ggml.tokens"), "2 values");
  EXPECT_EQ(file.integer("absent", 7), 7);
  EXPECT_THAT(error_of([&] { file.integer("absent"); }), HasSubstr("does not say 'absent'"));
  EXPECT_THAT(error_of([&] { file.text("llama.block_count"); }), HasSubstr("is not a string"));
}

// Row (half, pair) of each head is stored as (pair, half): rotary pairs are neighbours in the file.
TEST(Gguf, LlamaHeadsComeOutInHuggingFacesOrder) {
  const TemporaryFolder folder;
  GgufWriter writer;
  writer.add("general.architecture", std::string("llama"));
  writer.add("llama.attention.head_count", std::uint32_t{2});
  writer.add("llama.attention.head_count_kv", std::uint32_t{1});
  writer.tensor("blk.0.attn_q.weight", {1, 12}, {0, 10, 1, 11, 2, 12, 20, 30, 21, 31, 22, 32});
  writer.tensor("blk.0.attn_k.weight", {2, 4}, {0, 1, 10, 11, 2, 3, 12, 13});
  writer.tensor("blk.0.attn_k.bias", {4}, {0, 10, 1, 11});
  writer.tensor("blk.0.attn_v.weight", {1, 4}, {0, 1, 2, 3});
  const GgufFile file(write(folder, writer));
  const std::string layer = "model.layers.0.self_attn.";
  const Values q = {0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32};
  EXPECT_EQ(testing::values_of(file.read(layer + "q_proj.weight")), q);
  EXPECT_EQ(testing::values_of(file.read_rows(layer + "q_proj.weight", 2, 8)), Values(q.begin() + 2, q.begin() + 8));
  EXPECT_EQ(testing::values_of(file.read(layer + "k_proj.weight")), (Values{0, 1, 2, 3, 10, 11, 12, 13}));
  EXPECT_EQ(testing::values_of(file.read(layer + "k_proj.bias")), (Values{0, 1, 10, 11}));
  EXPECT_EQ(testing::values_of(file.read(layer + "v_proj.weight")), (Values{0, 1, 2, 3}));
}

TEST(Gguf, NamesBecomeHuggingFaces) {
  const TemporaryFolder folder;
  const auto name_in = [&](const std::string& architecture, const std::string& name) {
    GgufWriter writer;
    writer.add("general.architecture", architecture);
    writer.add("llama.attention.head_count", std::uint32_t{1});
    writer.tensor(name, {2, 2}, {1, 2, 3, 4});
    return GgufFile(write(folder, writer)).entries().front().name;
  };
  EXPECT_EQ(name_in("llama", "token_embd.weight"), "model.embed_tokens.weight");
  EXPECT_EQ(name_in("llama", "output_norm.weight"), "model.norm.weight");
  EXPECT_EQ(name_in("llama", "output.weight"), "lm_head.weight");
  EXPECT_EQ(name_in("llama", "blk.12.ffn_norm.weight"), "model.layers.12.post_attention_layernorm.weight");
  EXPECT_EQ(name_in("qwen2", "blk.3.attn_q.bias"), "model.layers.3.self_attn.q_proj.bias");
  EXPECT_EQ(name_in("llama", "rope_freqs.weight"), "rope_freqs.weight");
  EXPECT_EQ(name_in("clip", "token_embd.weight"), "token_embd.weight");
}

GgufWriter small_model() {
  GgufWriter writer;
  std::mt19937 random(8);
  writer.add("general.architecture", std::string("llama"));
  writer.add("llama.attention.head_count", std::uint32_t{2});
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab"});
  writer.add_numbers<float>("tokenizer.ggml.scores", 6, {0.5F, -2, 1});
  for (const BlockFormat& format : block_formats()) {
    writer.tensor("x" + format.name, {format.elements, 1}, format.id, random_blocks(format, 1, random));
  }
  writer.tensor("blk.0.attn_q.weight", {2, 4}, {0, 1, 10, 11, 2, 3, 12, 13});
  return writer;
}

TEST(Gguf, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.gguf"), whole = small_model().file();
  for (std::size_t n = 0; n + 32 < whole.size(); n += n < 400 ? 1 : 7) {
    testing::write_anew(path, whole.substr(0, n));
    EXPECT_THAT(error_of([&] { const GgufFile file(path); }), HasSubstr(path)) << n;
  }
}

TEST(Gguf, DamagedFilesAreReadOrRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.gguf");
  testing::expect_read_or_refused(small_model().file(), path, 6000, [&] {
    const GgufFile file(path);
    for (const WeightEntry& entry : file.entries()) file.read(entry.name);
  });
}

TEST(Gguf, HostileFilesAreRefusedWithTheReason) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    write_file(folder.file("w.gguf"), bytes);
    return error_of([&] { const GgufFile file(folder.file("w.gguf")); });
  };
  const auto with_tensor = [](const std::vector<std::uint64_t>& dims, std::uint32_t type, std::size_t bytes) {
    GgufWriter writer;
    writer.tensor("x", dims, type, std::string(bytes, '\0'));
    return writer.file();
  };
  const auto number = [](auto value) { return GgufWriter::number(value); };
  const std::string start = "GGUF" + number(std::uint32_t{3});
  EXPECT_THAT(refusal("GGML" + std::string(40, '\0')), HasSubstr("does not begin with"));
  EXPECT_THAT(refusal(GgufWriter(1).file()), HasSubstr("version 1"));
  EXPECT_THAT(refusal(GgufWriter(0x03000000).file()), HasSubstr("big-endian"));
  EXPECT_THAT(refusal(start + number(~std::uint64_t{0}) + number(std::uint64_t{0})), HasSubstr("byte 8 counts"));
  EXPECT_THAT(refusal(start + number(std::uint64_t{0}) + number(std::uint64_t{1} << 60)), HasSubstr("byte 16 counts"));
  const std::string pair = start + number(std::uint64_t{0}) + number(std::uint64_t{1});
  EXPECT_THAT(refusal(pair + number(std::uint64_t{1} << 50) + std::string(30, 'k')), HasSubstr("a key of"));
  EXPECT_THAT(refusal(pair + GgufWriter::text("key") + number(std::uint32_t{77}) + number(0)),
              HasSubstr("unknown type 77"));
  EXPECT_THAT(refusal(pair + GgufWriter::text("key") + number(std::uint32_t{9}) + number(std::uint32_t{9}) + number(1)),
              HasSubstr("array of arrays"));
  EXPECT_THAT(refusal(with_tensor({31}, 8, 34)), HasSubstr("blocks of 32"));
  EXPECT_THAT(refusal(with_tensor({32}, 99, 34)), HasSubstr("type 99"));
  EXPECT_THAT(refusal(with_tensor({0, 4}, 0, 16)), HasSubstr("impossible dimensions"));
  EXPECT_THAT(refusal(with_tensor({std::uint64_t{1} << 40, std::uint64_t{1} << 40}, 0, 16)),
              HasSubstr("impossible dimensions"));
  EXPECT_THAT(refusal(with_tensor({1, 1, 1, 1, 1}, 0, 4)), HasSubstr("5 dimensions"));
  EXPECT_THAT(refusal(with_tensor({64}, 0, 32)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(with_tensor({2}, 0, 96)), HasSubstr("belong to no tensor"));
  GgufWriter twice;
  twice.tensor("x", {2}, {1, 2});
  twice.tensor("x", {2}, {1, 2});
  EXPECT_THAT(refusal(twice.file()), HasSubstr("two tensors named 'x'"));
  GgufWriter keys;
  keys.add("k", std::uint32_t{1});
  keys.add("k", std::uint32_t{2});
  EXPECT_THAT(refusal(keys.file()), HasSubstr("'k' comes twice"));
  GgufWriter gap;
  gap.tensor("x", {2}, 0, std::string(40, '\0'));
  gap.tensor("y", {2}, {1, 2});
  EXPECT_THAT(refusal(gap.file()), HasSubstr("belong to no tensor"));
  GgufWriter overlap;
  overlap.tensor("x", {16}, 0, std::string(32, '\0'));
  overlap.tensor("y", {2}, {1, 2});
  EXPECT_THAT(refusal(overlap.file()), HasSubstr("overlaps"));
  GgufWriter aligned;
  aligned.add("general.alignment", std::uint32_t{24});
  EXPECT_THAT(refusal(aligned.file()), HasSubstr("power of two"));
  GgufWriter heads;
  heads.add("general.architecture", std::string("llama"));
  heads.add("llama.attention.head_count", std::uint32_t{3});
  heads.tensor("blk.0.attn_q.weight", {1, 4}, {1, 2, 3, 4});
  EXPECT_THAT(refusal(heads.file()), HasSubstr("3 heads"));
}

TEST(Gguf, WhatCannotBeReadIsListedAndNamed) {
  const TemporaryFolder folder;
  GgufWriter writer;
  writer.tensor("x", {256}, 10, std::string(84, '\0'));
  const GgufFile file(write(folder, writer));
  EXPECT_EQ(file.entry("x").dtype, "Q2_K");
  EXPECT_THAT(error_of([&] { file.read("x"); }), HasSubstr("Q2_K, which cannot be read"));
}

}  // namespace
}  // namespace skymm
