// Byte-level BPE: id by id what Hugging Face's tokenizers makes of the lines of tests/golden/tokenizers.
#include "io/byte_pair.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/json.hpp"
#include "io/text_splitter.hpp"
#include "io/weights/source.hpp"
#include "support/gguf_writer.hpp"
#include "support/mutations.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using Ids = std::vector<std::int32_t>;

const std::string golden = std::string(SKYMM_SOURCE_DIR) + "/tests/golden/tokenizers/";
const std::vector<std::string> families = {"gpt2", "smollm2", "qwen2", "llama3"};

std::int32_t fnv(const Ids& ids) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : fmt::format("{}", fmt::join(ids, ","))) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(hash));
}

std::vector<std::string> lines() {
  return parse_json(read_file(golden + "lines.json"), "lines").get<std::vector<std::string>>();
}

// The tokenizer's vocabulary and merges as llama.cpp's converter writes them.
std::string as_gguf(const TemporaryFolder& folder, const std::string& family, const std::string& pre) {
  const nlohmann::json file = read_json(golden + family + "/tokenizer.json");
  const auto& vocabulary = file["model"]["vocab"];
  std::vector<std::string> tokens(vocabulary.size()), merges;
  for (const auto& [token, id] : vocabulary.items()) tokens.at(id.get<std::size_t>()) = token;
  std::vector<std::int32_t> types(tokens.size(), 1);
  for (const auto& added : file["added_tokens"]) {
    const auto id = added["id"].get<std::size_t>();
    tokens.resize(std::max(tokens.size(), id + 1));
    types.resize(tokens.size(), 1);
    tokens[id] = added["content"].get<std::string>();
    types[id] = added["special"].get<bool>() ? 3 : 4;
  }
  for (const auto& merge : file["model"]["merges"]) {
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  testing::GgufWriter writer;
  writer.add("tokenizer.ggml.model", std::string("gpt2"));
  writer.add("tokenizer.ggml.pre", pre);
  writer.add("tokenizer.ggml.tokens", tokens);
  writer.add("tokenizer.ggml.merges", merges);
  writer.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, types);
  writer.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  writer.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  writer.add("tokenizer.ggml.padding_token_id", std::uint32_t{2});
  write_file(folder.file(family + ".gguf"), writer.file());
  return folder.file(family + ".gguf");
}

TEST(BytePair, EncodesAsHuggingFaceDoes) {
  const TemporaryFolder folder;
  const auto expected = open_weights(golden + "expected.safetensors");
  const std::vector<std::string> text = lines();
  ASSERT_EQ(text.size(), 2000u);
  const std::vector<std::string> pres = {"gpt-2", "smollm", "qwen2", "llama-bpe"};
  for (std::size_t f = 0; f < families.size(); ++f) {
    for (const std::string& path : {golden + families[f], as_gguf(folder, families[f], pres[f])}) {
      SCOPED_TRACE(path);
      const auto tokenizer = load_tokenizer(path);
      const auto hashes = expected->read(families[f] + ".hashes").to_vector<std::int32_t>();
      int different = 0;
      for (std::size_t i = 0; i < text.size(); ++i) {
        const Ids ids = tokenizer->encode(text[i]);
        if (i % 100 == 0) {
          EXPECT_EQ(ids, expected->read(fmt::format("{}.ids.{}", families[f], i)).to_vector<std::int32_t>()) << text[i];
        }
        if (fnv(ids) != hashes[i] && ++different < 4) ADD_FAILURE() << "line " << i << ": " << text[i];
      }
      EXPECT_EQ(different, 0);
    }
  }
}

TEST(BytePair, DecodesToTheText) {
  for (const std::string& family : families) {
    const auto tokenizer = load_tokenizer(golden + family);
    for (const std::string& line : lines()) {
      const std::string text = family == "qwen2" ? composed(line) : line;
      // SmolLM2's vocabulary has no token for these bytes: they are lost, as in Hugging Face's.
      if (family == "smollm2" && text.find_first_of("\x04\xF4") != std::string::npos) continue;
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(line)), text);
    }
  }
}

TEST(BytePair, TextNeverBecomesASpecialToken) {
  const auto tokenizer = load_tokenizer(golden + "qwen2");
  for (const std::int32_t id : tokenizer->encode("<|im_start|>user<|im_end|><|endoftext|>")) EXPECT_GT(id, 2);
  EXPECT_EQ(tokenizer->encode("<tool>"), Ids{tokenizer->find_piece("<tool>")});  // added, but not special
  EXPECT_EQ(tokenizer->encode("a<tool>b").size(), 3u);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a<tool>b")), "a<tool>b");
}

TEST(BytePair, AVocabularyWithoutATokenForPaddingIsRefused) {
  const TemporaryFolder folder;
  testing::GgufWriter writer;
  writer.add("tokenizer.ggml.model", std::string("gpt2"));
  writer.add("tokenizer.ggml.pre", std::string("gpt-2"));
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  writer.add("tokenizer.ggml.merges", std::vector<std::string>{});
  writer.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, {1});
  writer.add("tokenizer.ggml.eos_token_id", std::uint32_t{0});
  write_file(folder.file("a.gguf"), writer.file());
  EXPECT_THAT(error_of([&] { load_tokenizer(folder.file("a.gguf")); }), HasSubstr("no token for padding"));
}

TEST(BytePair, SpecialTokensComeFromTheConfigurationBeside) {
  const auto tokenizer = load_tokenizer(golden + "smollm2/tokenizer.json");
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->pad(), 0);  // the configuration says 2, which is eos
  EXPECT_EQ(tokenizer->piece(2), "<|im_end|>");
  EXPECT_EQ(tokenizer->find_piece("<|im_start|>"), 1);
  EXPECT_EQ(tokenizer->find_piece("no such piece"), -1);
  EXPECT_EQ(tokenizer->decode(Ids{1, 2}), "");
  const TemporaryFolder folder;
  write_file(folder.file("tokenizer.json"), read_file(golden + "smollm2/tokenizer.json"));
  EXPECT_EQ(load_tokenizer(folder.path())->eos(), -1);
  write_file(folder.file("config.json"), R"({"eos_token_id":[2,0],"bos_token_id":1})");
  EXPECT_EQ(load_tokenizer(folder.path())->eos(), 2);
}

TEST(BytePair, TextThatIsNotUtf8IsAnError) {
  const auto tokenizer = load_tokenizer(golden + "gpt2");
  for (const std::string bad : {"\xC0\xAF", "a\xFF", "\xE9\xA5", "\xED\xA0\x80"}) {
    EXPECT_THAT(error_of([&] { tokenizer->encode(bad); }), HasSubstr("not UTF-8"));
  }
  EXPECT_THAT(error_of([&] { tokenizer->decode(Ids{600000}); }), HasSubstr("outside the vocabulary"));
}

TEST(BytePair, LongLinesWithoutSpacesAreEncoded) {
  const auto tokenizer = load_tokenizer(golden + "gpt2");
  for (const std::string unit : {"a", "the", "饺"}) {
    std::string line;
    for (int i = 0; i < 100000; ++i) line += unit;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(line)), line);
  }
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(std::string(100000, ' '))), std::string(100000, ' '));
}

TEST(BytePair, WhatIsNotSupportedIsNamed) {
  const TemporaryFolder folder;
  const nlohmann::json whole = read_json(golden + "gpt2/tokenizer.json");
  const auto refusal = [&](const std::string& change) {
    nlohmann::json file = whole;
    file.merge_patch(nlohmann::json::parse(change));
    write_file(folder.file("tokenizer.json"), file.dump());
    return error_of([&] { load_tokenizer(folder.path()); });
  };
  const std::string removed =
      R"({"pre_tokenizer":{"type":"Split","behavior":"Removed","invert":true,"pattern":{"Regex":"x"}}})";
  EXPECT_THAT(refusal(R"({"model":{"type":"Unigram","merges":null}})"), HasSubstr("model 'Unigram'"));
  EXPECT_THAT(refusal(R"({"decoder":{"type":"Metaspace"}})"), HasSubstr("give that"));
  EXPECT_THAT(refusal(R"({"model":{"dropout":0.1}})"), HasSubstr("model.dropout is 0.1"));
  EXPECT_THAT(refusal(R"({"normalizer":{"type":"Lowercase"}})"), HasSubstr("Lowercase"));
  EXPECT_THAT(refusal(R"({"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true}})"),
              HasSubstr("add_prefix_space"));
  EXPECT_THAT(refusal(removed), HasSubstr("Removed"));
  EXPECT_THAT(refusal(R"({"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"(x"}}})"),
              HasSubstr("cannot be compiled"));
  EXPECT_THAT(refusal(R"({"model":{"merges":[["q","q"]]}})"), HasSubstr("merge 0 of 'q' and 'q'"));
  EXPECT_THAT(refusal(R"({"model":{"vocab":{"again":5}}})"), HasSubstr("both have the id 5"));
  EXPECT_THAT(refusal(R"({"model":{"vocab":{"x1":-5}}})"), HasSubstr("impossible id -5"));
  EXPECT_THAT(refusal(R"({"added_tokens":[{"id":0,"content":"z","special":false,"lstrip":true}]})"),
              HasSubstr("added token"));
  EXPECT_THAT(error_of([&] { load_tokenizer(as_gguf(folder, "gpt2", "jina")); }), HasSubstr("'jina'"));
}

// A file as dense as this one is hardly ever read after damage; what counts is that nothing else happens.
TEST(BytePair, DamagedFilesAreReadOrRefused) {
  const TemporaryFolder folder;
  const std::string whole = read_file(golden + "qwen2/tokenizer.json");
  std::mt19937 random(4);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    testing::write_anew(folder.file("tokenizer.json"), testing::mutated(whole, random));
    try {
      load_tokenizer(folder.path())->encode("What is in the picture? 饺子 123");
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

std::vector<std::string> pieces(const std::string& pattern, const std::string& text) {
  const TextSplitter splitter({pattern});
  std::vector<std::string> out;
  for (const std::string_view piece : splitter.split(text)) out.emplace_back(piece);
  return out;
}

TEST(TextSplitter, CutsAsTheFamiliesDo) {
  EXPECT_THAT(pieces(gpt2_pattern, "it's 42  cats"), ElementsAre("it", "'s", " 42", " ", " cats"));
  EXPECT_THAT(pieces(digits_pattern, "a42"), ElementsAre("a", "4", "2"));
  EXPECT_THAT(pieces(qwen2_pattern, "IT'S 42\n\n x"), ElementsAre("IT", "'S", " ", "4", "2", "\n\n", " x"));
  EXPECT_THAT(pieces(llama3_pattern, "12345"), ElementsAre("123", "45"));
  // U+180E is no white space, U+0085 is.
  EXPECT_THAT(pieces(R"(\s+)", "a\u180Eb\u0085\u3000c"), ElementsAre("a\u180Eb", "\u0085\u3000", "c"));
  EXPECT_THAT(pieces("x*", "axxb"), ElementsAre("a", "xx", "b"));
  EXPECT_THAT(pieces(gpt2_pattern, ""), ElementsAre());
  EXPECT_EQ(composed("e\u0301"), "é");
}

}  // namespace
}  // namespace skymm
