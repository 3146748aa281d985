#include "io/prompt.hpp"

#include <sentencepiece_trainer.h>

#include "core/error.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

constexpr int visual = 5;

// The nano tokenizer with the special tokens of every template.
std::shared_ptr<const Tokenizer> chat_tokenizer() {
  static const std::shared_ptr<const Tokenizer> tokenizer = [] {
    const testing::TemporaryFolder folder;
    std::string corpus;
    for (int i = 0; i < 9; ++i) corpus += "USER: ASSISTANT: what is it? a dumpling. yes no <<SYS>> [INST] 一个饺子\n";
    write_file(folder.file("corpus.txt"), corpus);
    train_tokenizer(folder.file("corpus.txt"), folder.file("chat.model"),
                    {.vocab_size = 340, .symbols = {"<|im_start|>", "<|im_end|>", "[USER]", "[SEP]", "[BOT]"}});
    return std::shared_ptr<const Tokenizer>(load_tokenizer(folder.file("chat.model")));
  }();
  return tokenizer;
}

PromptBuilder builder(std::string_view name, int max_tokens = 1000, bool cut_answers = false) {
  return PromptBuilder(
      chat_tokenizer(), chat_template(name),
      {.visual_tokens = visual, .max_tokens = max_tokens, .cut_answers = cut_answers, .system = std::nullopt});
}

Sample two_turns() {
  Sample sample;
  sample.id = "s";
  sample.images = {"picture"};
  sample.parts = {image_part(0), text_part("what is it?"), answer_part("a dumpling."), text_part("是吗？"),
                  answer_part("一个饺子")};
  return sample;
}

std::string shown(const Tokenizer& tokenizer, std::int32_t id) {
  if (id < 0) return "#";
  if (id == tokenizer.bos()) return "{bos}";
  if (id == tokenizer.eos()) return "{eos}";
  return tokenizer.decode(std::vector<std::int32_t>{id});
}

std::string joined(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  std::string text;
  std::vector<std::int32_t> run;  // characters may be split over byte tokens
  const auto flush = [&] {
    text += tokenizer.decode(run);
    run.clear();
  };
  for (const std::int32_t id : ids) {
    if (id >= 0 && id != tokenizer.bos() && id != tokenizer.eos()) {
      run.push_back(id);
    } else {
      flush();
      text += shown(tokenizer, id);
    }
  }
  flush();
  return text;
}

std::string all_of(const TokenizedSample& sample) { return joined(*chat_tokenizer(), sample.tokens); }

// The labels, with "|" between the answers.
std::string trained_of(const TokenizedSample& sample) {
  std::string text;
  std::vector<std::int32_t> run;
  for (std::size_t i = 0; i <= sample.labels.size(); ++i) {
    if (i < sample.labels.size() && sample.labels[i] >= 0) {
      EXPECT_EQ(sample.labels[i], sample.tokens[i + 1]);
      run.push_back(sample.labels[i]);
    } else if (!run.empty()) {
      text += joined(*chat_tokenizer(), run) + "|";
      run.clear();
    }
  }
  return text;
}

struct Expected {
  std::string name, all, trained;
};

TEST(Prompt, EveryTemplateReadsAndTrainsAsItShould) {
  const std::string vicuna =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
      "and polite answers to the user's questions. ";
  const std::string llama =
      "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
      "provides, and assist the user with a variety of tasks using natural language.";
  const std::vector<Expected> table = {
      {"plain", "{bos}#####a dumpling.{eos}一个饺子{eos}", "a dumpling.{eos}一个饺子{eos}|"},
      {"vicuna_v1",
       "{bos}" + vicuna + "USER: #####\nwhat is it? ASSISTANT: a dumpling.{eos}USER: 是吗？ ASSISTANT: 一个饺子{eos}",
       " a dumpling.{eos}| 一个饺子{eos}|"},
      {"llama_2",
       "{bos}[INST] <<SYS>>\n" + llama +
           "\n<</SYS>>\n\n#####\nwhat is it? [/INST] a dumpling. {eos}{bos}[INST] 是吗？ [/INST] 一个饺子 {eos}",
       " a dumpling. {eos}| 一个饺子 {eos}|"},
      {"skywork", "{bos}[USER]#####\nwhat is it?[SEP][BOT]a dumpling.{eos}[USER]是吗？[SEP][BOT]一个饺子{eos}",
       "a dumpling.{eos}|一个饺子{eos}|"},
      {"chatml",
       "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n#####\nwhat is it?<|im_end|>\n"
       "<|im_start|>assistant\na dumpling.<|im_end|>\n<|im_start|>user\n是吗？<|im_end|>\n<|im_start|>assistant\n"
       "一个饺子<|im_end|>\n",
       "a dumpling.<|im_end|>|一个饺子<|im_end|>|"},
      {"smollm2",
       "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
       "<|im_start|>user\n#####\nwhat is it?<|im_end|>\n<|im_start|>assistant\na dumpling.<|im_end|>\n"
       "<|im_start|>user\n是吗？<|im_end|>\n<|im_start|>assistant\n一个饺子<|im_end|>\n",
       "a dumpling.<|im_end|>|一个饺子<|im_end|>|"},
      {"nano", "{bos}#####\n what is it?\n a dumpling.{eos}是吗？\n一个饺子{eos}", " a dumpling.{eos}|一个饺子{eos}|"},
  };
  for (const Expected& expected : table) {
    SCOPED_TRACE(expected.name);
    const TokenizedSample sample = builder(expected.name).tokenize(two_turns());
    ASSERT_EQ(sample.skip, Skip::none) << sample.detail;
    EXPECT_EQ(all_of(sample), expected.all);
    EXPECT_EQ(trained_of(sample), expected.trained);
    EXPECT_EQ(sample.labels.size(), sample.tokens.size());
    EXPECT_THAT(sample.images, ElementsAre(0));
    ASSERT_EQ(sample.image_positions.size(), 1u);
    for (int i = 0; i < visual; ++i)
      EXPECT_EQ(sample.tokens[static_cast<std::size_t>(sample.image_positions[0] + i)], -1);
  }
}

// The system text's tokens are kept; what follows must come out as if all had been encoded at once.
TEST(Prompt, KeptTokensOfTheSystemTextChangeNothing) {
  const Tokenizer& tokenizer = *chat_tokenizer();
  for (const auto* name : {"vicuna_v1", "llama_2"}) {
    const ChatTemplate& format = chat_template(name);
    for (const std::string question :
         {"what is it?", "  two spaces", ": a dumpling", "是吗？", "\nline", "[INST]", "x"}) {
      Sample sample;
      sample.parts = {text_part(question), answer_part("yes")};
      std::string user(format.begin.substr(5));  // behind {bos}
      user += format.system_block.substr(0, format.system_block.find("{system}"));
      user += format.system;
      user += format.system_block.substr(format.system_block.find("{system}") + 8);
      user += fmt::format("{}{}{}", format.first_user, question, format.answer);
      const std::vector<std::int32_t> expected = tokenizer.encode(user), tokens = builder(name).prompt(sample).tokens;
      EXPECT_EQ(tokens[0], tokenizer.bos());
      EXPECT_EQ(std::vector(tokens.begin() + 1, tokens.end()), expected) << name << " " << question;
    }
  }
}

TEST(Prompt, StopTokenEndsEachAnswer) {
  for (const std::string name : {"plain", "vicuna_v1", "llama_2", "skywork", "nano"}) {
    EXPECT_EQ(builder(name).stop_token(), chat_tokenizer()->eos());
  }
  EXPECT_EQ(builder("chatml").stop_token(), chat_tokenizer()->find_piece("<|im_end|>"));
}

// What is generated from must be what was trained on: the prompt is the training sequence up to the last answer.
TEST(Prompt, PromptsAreThePrefixOfWhatIsTrained) {
  for (const std::string name : {"plain", "vicuna_v1", "llama_2", "skywork", "chatml", "nano"}) {
    SCOPED_TRACE(name);
    const TokenizedSample trained = builder(name).tokenize(two_turns());
    Sample asked = two_turns();
    const TokenizedSample with_answer = builder(name).prompt(asked);
    asked.parts.pop_back();
    if (name != "plain") {  // plain joins a question without picture to nothing
      EXPECT_EQ(builder(name).prompt(asked).tokens, with_answer.tokens);
    }
    ASSERT_LT(with_answer.tokens.size(), trained.tokens.size());
    EXPECT_TRUE(std::equal(with_answer.tokens.begin(), with_answer.tokens.end(), trained.tokens.begin()));
    EXPECT_GE(trained.labels[with_answer.tokens.size() - 1], 0) << "the answer starts right after the prompt";
  }
}

TEST(Prompt, SeveralPicturesKeepTheirOrder) {
  Sample sample;
  sample.images = {"a", "b"};
  sample.parts = {text_part("is "), image_part(1), text_part(" it? "), image_part(0), answer_part("yes")};
  const TokenizedSample out = builder("skywork").tokenize(sample);
  EXPECT_THAT(out.images, ElementsAre(1, 0));
  EXPECT_EQ(out.tokens[static_cast<std::size_t>(out.image_positions[0])], -1);
  EXPECT_EQ(out.tokens[static_cast<std::size_t>(out.image_positions[1])], -2);
  EXPECT_EQ(std::count_if(out.tokens.begin(), out.tokens.end(), [](int id) { return id < 0; }), 2 * visual);
}

// The end mark of every answer that is trained is trained with it.
TEST(Prompt, TooLongLosesWholeTurnsAndNoPartOfAnAnswer) {
  const auto first_turn = [] {
    Sample sample = two_turns();
    sample.parts.resize(3);
    return builder("nano").tokenize(sample);
  };
  const int first = static_cast<int>(first_turn().tokens.size());
  const int all = static_cast<int>(builder("nano").tokenize(two_turns()).tokens.size());
  for (int limit = 1; limit < all; ++limit) {
    SCOPED_TRACE(limit);
    const TokenizedSample out = builder("nano", limit).tokenize(two_turns());
    EXPECT_FALSE(out.answer_cut);
    EXPECT_EQ(out.skip, limit < first ? Skip::too_long : Skip::none);
    if (limit >= first) {
      EXPECT_EQ(out.tokens, first_turn().tokens);
      EXPECT_EQ(out.labels, first_turn().labels);
    }
  }
  EXPECT_THAT(builder("nano", first - 1).tokenize(two_turns()).detail, HasSubstr(fmt::format("{} with it", first)));
}

TEST(Prompt, DocumentsThatAreTooLongLoseTurnsThenTheEndOfTheirAnswerNeverPictures) {
  const TokenizedSample whole = builder("nano").tokenize(two_turns());
  const int n = static_cast<int>(whole.tokens.size());
  const int first = static_cast<int>(builder("nano")
                                         .tokenize([] {
                                           Sample sample = two_turns();
                                           sample.parts.resize(3);
                                           return sample;
                                         }())
                                         .tokens.size());
  EXPECT_EQ(builder("nano", n).tokenize(two_turns()).turns_cut, 0);
  for (int limit = 1; limit < n; ++limit) {
    SCOPED_TRACE(limit);
    const TokenizedSample out = builder("nano", limit, true).tokenize(two_turns());
    if (out.skip != Skip::none) {
      EXPECT_EQ(out.skip, Skip::too_long);
      EXPECT_TRUE(out.tokens.empty());
      continue;
    }
    EXPECT_LE(static_cast<int>(out.tokens.size()), limit);
    EXPECT_EQ(out.turns_cut, 1);
    EXPECT_EQ(out.answer_cut, limit < first);
    EXPECT_EQ(std::count(out.tokens.begin(), out.tokens.end(), -1), visual);
    EXPECT_TRUE(std::equal(out.tokens.begin(), out.tokens.end(), whole.tokens.begin()));
    EXPECT_GT(std::count_if(out.labels.begin(), out.labels.end(), [](int id) { return id >= 0; }), 0);
    const bool ends = out.labels[out.labels.size() - 2] == chat_tokenizer()->eos();
    EXPECT_EQ(ends, !out.answer_cut) << "a cut answer must not teach to stop";
  }
  EXPECT_THAT(error_of([] { builder("nano", 4).prompt(two_turns()); }), HasSubstr("the limit is 4"));
}

TEST(Prompt, APictureOfACutTurnIsNotLoaded) {
  Sample sample = two_turns();
  sample.images.push_back("second");
  sample.parts.insert(sample.parts.begin() + 3, image_part(1));
  const int n = static_cast<int>(builder("nano").tokenize(sample).tokens.size());
  EXPECT_THAT(builder("nano", n).tokenize(sample).images, ElementsAre(0, 1));
  EXPECT_THAT(builder("nano", n - 1).tokenize(sample).images, ElementsAre(0));
}

TEST(Prompt, BadSamplesSayWhy) {
  const auto skip = [](std::vector<Part> parts) {
    Sample sample;
    sample.images = {"a"};
    sample.parts = std::move(parts);
    const TokenizedSample out = builder("nano").tokenize(sample);
    EXPECT_TRUE(out.tokens.empty());
    EXPECT_FALSE(out.detail.empty());
    return out.skip;
  };
  EXPECT_EQ(skip({image_part(0), answer_part(" \n")}), Skip::empty_answer);
  EXPECT_EQ(skip({image_part(0), text_part("what?")}), Skip::no_answer);
  EXPECT_EQ(skip({}), Skip::no_answer);
  EXPECT_EQ(skip({image_part(1), answer_part("a")}), Skip::bad_image);
  EXPECT_EQ(skip({image_part(0), answer_part("\xFF")}), Skip::bad_text);
}

TEST(Prompt, TrailingQuestionsAreLeftOut) {
  Sample sample = two_turns();
  const TokenizedSample before = builder("chatml").tokenize(sample);
  sample.parts.push_back(text_part("and?"));
  EXPECT_EQ(builder("chatml").tokenize(sample).tokens, before.tokens);
}

TEST(Prompt, TemplatesAndTokenizersMustFit) {
  EXPECT_THAT(error_of([] { chat_template("vicuna"); }), HasSubstr("vicuna_v1"));
  const std::shared_ptr<const Tokenizer> nano(&testing::nano_tokenizer(), [](const Tokenizer*) {});
  EXPECT_THAT(error_of([&] { PromptBuilder(nano, chat_template("chatml"), {}); }), HasSubstr("<|im_start|>"));
  EXPECT_THAT(error_of([&] { PromptBuilder(nano, chat_template("nano"), {.system = "be kind"}); }),
              HasSubstr("no place for a system text"));
}

}  // namespace
}  // namespace skymm
