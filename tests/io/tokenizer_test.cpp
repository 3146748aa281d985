#include "io/tokenizer.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "io/file.hpp"
#include "io/utf8.hpp"
#include "support/gguf_writer.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::nano_tokenizer;
using testing::TemporaryFolder;

std::string decoded(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) { return tokenizer.decode(ids); }

TEST(Tokenizer, RoundTripsAnyText) {
  const Tokenizer& tokenizer = nano_tokenizer();
  for (const std::string text : {"a red panda", " two  spaces, 12345 ", "饺子和红包。", "line\nbreak\ttab\r\n",
                                 "🥟 emoji, ünïcödé", "</s> <s> <0x41> <pad>", "\n"}) {
    EXPECT_EQ(decoded(tokenizer, tokenizer.encode(text)), text);
    EXPECT_EQ(decoded(tokenizer, tokenizer.encode(text, TextPlace::middle)), text);
  }
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(Tokenizer, TextNeverBecomesAControlToken) {
  const Tokenizer& tokenizer = nano_tokenizer();
  for (const std::int32_t id : tokenizer.encode("<s>a</s><pad><unk>")) EXPECT_GT(id, 3);
}

TEST(Tokenizer, SpecialTokensAreDistinct) {
  const Tokenizer& tokenizer = nano_tokenizer();
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_NE(tokenizer.pad(), tokenizer.eos());
  EXPECT_EQ(tokenizer.find_piece("</s>"), tokenizer.eos());
  EXPECT_EQ(tokenizer.find_piece("no such piece"), -1);
  EXPECT_EQ(tokenizer.piece(tokenizer.bos()), "<s>");
}

TEST(Tokenizer, SymbolsAreOneTokenInTheMiddleOfText) {
  const Tokenizer& tokenizer = nano_tokenizer();
  EXPECT_EQ(tokenizer.encode(" dumpling").size(), 1u);
  EXPECT_EQ(tokenizer.encode(" red panda").size(), 1u);
  EXPECT_EQ(tokenizer.encode("饺子").size(), 1u);
  EXPECT_EQ(tokenizer.encode(" a, b").size(), 1u);  // a comma in the symbol
  const auto ids = tokenizer.encode("I see a dumpling");
  EXPECT_EQ(ids.back(), tokenizer.encode(" dumpling")[0]);
}

TEST(Tokenizer, EncodedPartsJoinToTheText) {
  const Tokenizer& tokenizer = nano_tokenizer();
  std::vector<std::int32_t> ids;
  for (const std::string part : {"What is", " in the ", "picture?", "\n", " 饺", "子"}) {
    const auto more = tokenizer.encode(part, TextPlace::middle);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  EXPECT_EQ(decoded(tokenizer, ids), "What is in the picture?\n 饺子");
}

// LLaMA's models put a space in front of every text that they encode; parts in the middle must not get one.
TEST(Tokenizer, ForeignModelsKeepTheirSpaceInFrontAtTheStartOnly) {
  const TemporaryFolder folder;
  std::string corpus;
  for (int i = 0; i < 20; ++i) corpus += "the cat and the dog see the cat on a mat\n";
  write_file(folder.file("corpus.txt"), corpus);
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      fmt::format("--input={} --model_prefix={} --model_type=bpe --vocab_size=300 --byte_fallback=true --minloglevel=1 "
                  "--normalization_rule_name=identity --remove_extra_whitespaces=false",
                  folder.file("corpus.txt"), folder.file("llama")));
  ASSERT_TRUE(status.ok()) << status.message();
  const auto tokenizer = load_tokenizer(folder.file("llama.model"));
  EXPECT_EQ(tokenizer->encode("cat"), tokenizer->encode(" cat", TextPlace::middle));
  EXPECT_NE(tokenizer->encode("cat"), tokenizer->encode("cat", TextPlace::middle));
  EXPECT_EQ(decoded(*tokenizer, tokenizer->encode("the cat")), "the cat");
  std::vector<std::int32_t> ids = tokenizer->encode("the c");
  for (const std::string part : {"at", "\n", " dog", "s"}) {
    const auto more = tokenizer->encode(part, TextPlace::middle);
    EXPECT_EQ(tokenizer->decode(more, TextPlace::middle), part);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  EXPECT_EQ(decoded(*tokenizer, ids), "the cat\n dogs");
  EXPECT_NE(tokenizer->pad(), tokenizer->eos());  // this model has no padding token of its own
}

// A GGUF file holds the pieces and scores of the same model: llama.cpp's vocabularies of the kind "llama".
TEST(Tokenizer, GgufVocabulariesOfScoresEncodeTheSame) {
  const TemporaryFolder folder;
  testing::train_nano_tokenizer(folder.file("nano.model"));
  sentencepiece::SentencePieceProcessor model;
  ASSERT_TRUE(model.Load(folder.file("nano.model")).ok());
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    tokens.push_back(model.IdToPiece(id));
    scores.push_back(model.GetScore(id));
    const bool defined = tokens.back() == "\u2581dumpling" || tokens.back() == "\u2581red\u2581panda" ||
                         tokens.back() == "饺子" || tokens.back() == "\u2581a,\u2581b";
    types.push_back(model.IsUnknown(id) ? 2 : model.IsControl(id) ? 3 : defined ? 4 : model.IsByte(id) ? 6 : 1);
  }
  for (const bool space : {false, true}) {
    testing::GgufWriter writer;
    writer.add("tokenizer.ggml.model", std::string("llama"));
    writer.add("tokenizer.ggml.tokens", tokens);
    writer.add_numbers<float>("tokenizer.ggml.scores", 6, scores);
    writer.add_numbers<std::int32_t>("tokenizer.ggml.token_type", 5, types);
    writer.add("tokenizer.ggml.add_space_prefix", space);
    writer.add("tokenizer.ggml.unknown_token_id", std::uint32_t{0});
    writer.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
    writer.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
    writer.add("tokenizer.ggml.padding_token_id", std::uint32_t{3});
    write_file(folder.file("nano.gguf"), writer.file());
    const auto ours = load_tokenizer(folder.file("nano.gguf")), theirs = load_tokenizer(folder.file("nano.model"));
    for (const std::string text :
         {"a red panda", " two  spaces, 12345 ", "饺子和红包。", "I see a dumpling\n", "🥟 ünï"}) {
      EXPECT_EQ(ours->encode(text), theirs->encode((space ? " " : "") + text)) << text;
      EXPECT_EQ(ours->encode(text, TextPlace::middle), theirs->encode(text)) << text;
      EXPECT_EQ(ours->decode(ours->encode(text)), text);
    }
    EXPECT_EQ(ours->bos(), 1);
    EXPECT_EQ(ours->eos(), 2);
    EXPECT_EQ(ours->pad(), 3);
  }
}

TEST(Tokenizer, KnowsWhereATokenMayGoOnOverASpace) {
  const Tokenizer& nano = testing::nano_tokenizer();  // has the token " a, b"
  EXPECT_TRUE(nano.ends_at_space("two pandas:"));
  EXPECT_FALSE(nano.ends_at_space("a,"));
  EXPECT_FALSE(nano.ends_at_space("two "));
  EXPECT_FALSE(nano.ends_at_space(""));
}

TEST(Tokenizer, TrainingIsDeterministic) {
  const TemporaryFolder folder;
  testing::train_nano_tokenizer(folder.file("a.model"));
  testing::train_nano_tokenizer(folder.file("b.model"));
  const std::string model = read_file(folder.file("a.model"));
  EXPECT_EQ(model, read_file(folder.file("b.model")));
  EXPECT_EQ(model.find(folder.path()), std::string::npos) << "the model remembers the machine's paths";
}

TEST(Tokenizer, BadFilesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { load_tokenizer(folder.file("absent.model")); }), HasSubstr("No such file"));
  write_file(folder.file("text.model"), "this is not a model, but a text of some length");
  EXPECT_THAT(error_of([&] { load_tokenizer(folder.file("text.model")); }), HasSubstr("not a SentencePiece model"));
  write_file(folder.file("empty.model"), "");
  EXPECT_THAT(error_of([&] { load_tokenizer(folder.file("empty.model")); }), HasSubstr("it is empty"));
  EXPECT_THAT(error_of([&] { nano_tokenizer().decode(std::vector<std::int32_t>{99999}); }),
              HasSubstr("outside the vocabulary"));
}

// Each of these took the program down within libsentencepiece.
TEST(Tokenizer, ModelsThatTheLibraryCannotStandAreRefused) {
  using namespace std::string_literals;
  const TemporaryFolder folder;
  testing::train_nano_tokenizer(folder.file("good.model"));
  const std::string good = read_file(folder.file("good.model"));
  const auto error = [&](const std::string& more) {
    write_file(folder.file("bad.model"), good + more);
    return error_of([&] { load_tokenizer(folder.file("bad.model")); });
  };
  const std::string piece = "\x0a\x05\x0a\x03xyz";
  EXPECT_THAT(error(piece + piece), HasSubstr("comes twice"));
  EXPECT_THAT(error("\x0a\x05\x0a\x03x\0z"s), HasSubstr("zero byte"));
  EXPECT_THAT(error("\x0a\x02\x0a\0"s), HasSubstr("is empty"));
  EXPECT_THAT(error("\x0a\x7f\x0a"), HasSubstr("it is cut"));
  EXPECT_THAT(error("\x0b"), HasSubstr("it is damaged"));
  // A normaliser's table of 256 units: u32 size, units, texts. The offset of a unit is its upper bits.
  std::string table = "\0\4\0\0"s + std::string(1024, '\0') + "text\0"s;
  const auto with_table = [&] { return "\x1a\x8c\x08\x12\x89\x08"s + table; };
  EXPECT_EQ(table.size(), 0x409U);
  table[4 + 3] = 1;  // unit 0 leads to unit 1 << 14
  EXPECT_THAT(error(with_table()), HasSubstr("points out of itself at unit 0"));
  table[1] = 8;
  EXPECT_THAT(error(with_table()), HasSubstr("the table of its normaliser is damaged"));
}

TEST(Tokenizer, TrainingSaysWhatIsWrongWithTheCorpus) {
  const TemporaryFolder folder;
  write_file(folder.file("blank.txt"), "\n\n");
  EXPECT_THAT(error_of([&] { train_tokenizer(folder.file("blank.txt"), folder.file("m"), {}); }), HasSubstr("empty"));
  write_file(folder.file("tiny.txt"), "a b c\n");
  EXPECT_THAT(error_of([&] { train_tokenizer(folder.file("tiny.txt"), folder.file("m"), {}); }),
              HasSubstr("smaller vocab_size"));
}

TEST(Utf8, TellsCharactersFromBytes) {
  EXPECT_TRUE(is_utf8("aé饺🥟"));
  for (const std::string bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE9\xA5", "\x80", "\xFF"}) {
    EXPECT_FALSE(is_utf8(bad));
    EXPECT_TRUE(is_utf8(valid_utf8(bad)));
  }
  EXPECT_EQ(valid_utf8("a\xFFz"), "a\uFFFDz");
  EXPECT_TRUE(is_blank(" \n\u3000"));
  EXPECT_FALSE(is_blank("\u3000x"));
}

}  // namespace
}  // namespace skymm
