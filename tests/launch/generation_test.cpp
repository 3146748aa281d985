#include "launch/evaluation/generation.hpp"

#include "io/utf8.hpp"
#include "launch/assembly/batches.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/answer_text.hpp"
#include "launch/evaluation/run.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

using testing::nano_tokenizer;

class Generation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    testing::write_tiny_run(folder_->path());
    run_ = std::make_unique<skymm::Run>(open_run(folder_->path()));
  }
  static void TearDownTestSuite() {
    run_.reset();
    folder_.reset();
  }

  static std::vector<Sample> samples() {
    std::vector<Sample> all(4);
    all[0].images = {testing::tiny_picture(1)};
    all[0].parts = {image_part(0), text_part("What is in the picture?")};
    all[1].parts = {text_part("有吗？")};
    all[2].images = {testing::tiny_picture(2)};
    all[2].parts = {image_part(0), text_part("Is there a panda?"), answer_part("yes"), text_part("图里有什么？")};
    all[3].images = {testing::tiny_picture(1)};
    all[3].parts = {image_part(0), text_part("the color")};
    return all;
  }

  static std::vector<std::string> answers(const GenerationOptions& options) {
    return generate(*run_->assembly.model, run_->assembly.prompts(run_->config), run_->assembly.images, samples(),
                    options);
  }

  // Greedy, each token by the whole sequence again, one sample at a time.
  static std::string plain_answer(const Sample& sample, int max_tokens) {
    Multimodal& model = *run_->assembly.model;
    const PromptBuilder prompts = run_->assembly.prompts(run_->config);
    const ImageSpec& images = run_->assembly.images;
    std::vector<std::int32_t> tokens = prompts.prompt(sample).tokens, answer;
    for (int step = 0; step < max_tokens; ++step) {
      MicroBatch host;
      for (const std::int32_t token : tokens) {
        const auto row = static_cast<std::int32_t>(host.tokens.size());
        if (token < 0) host.visual_rows.push_back(row);
        host.tokens.push_back(std::max(token, 0));
        host.positions.push_back(row);
        host.row_ids.insert(host.row_ids.end(), {0, row});
      }
      const auto length = static_cast<std::int32_t>(tokens.size());
      host.sequence_offsets = {0, length};
      host.max_length = length;
      if (!sample.images.empty()) host.pixels = load_pixels(sample.images[0], images);
      Graph graph(Graph::Mode::inference);
      const Batch batch = to_batch(host, images.size, model.dtype(), 0, 0, false);
      const std::vector<float> logits =
          model.logits(graph, batch, Tensor::from(std::vector{length - 1}, {1})).to_vector();
      const auto best = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
      if (best == prompts.stop_token() || best == prompts.tokenizer().eos()) break;
      tokens.push_back(best);
      answer.push_back(best);
    }
    return prompts.tokenizer().decode(answer, TextPlace::middle);
  }

  static inline std::unique_ptr<testing::TemporaryFolder> folder_;
  static inline std::unique_ptr<skymm::Run> run_;
};

TEST_F(Generation, PastTheSlidingWindowNothingIsGenerated) {
  MultimodalConfig config = run_->assembly.model->config();
  config.decoder.window = 16;
  Multimodal model(config, DType::f32, cpu());
  const Sample sample{.id = "long", .parts = {text_part("Is there a panda in the picture, or a dumpling?")}};
  EXPECT_THAT(testing::error_of([&] {
                generate(model, run_->assembly.prompts(run_->config), run_->assembly.images, {sample},
                         {.max_tokens = 12});
              }),
              ::testing::HasSubstr("of the model's sliding window"));
}

TEST_F(Generation, TheCacheChangesNoToken) {
  std::vector<std::string> expected;
  for (const Sample& sample : samples()) expected.push_back(plain_answer(sample, 9));
  EXPECT_EQ(answers({.max_tokens = 9}), expected);
  EXPECT_EQ(answers({.max_tokens = 9, .batch_size = 3}), expected);
  EXPECT_EQ(answers({.max_tokens = 9, .batch_size = 1, .sampling = {.temperature = 0.7F, .top_k = 1}}), expected);
}

TEST_F(Generation, HandsOutTheAnswerInPieces) {
  std::vector<std::string> heard(4);
  const auto listen = [&](std::size_t sample, std::string_view text) {
    EXPECT_FALSE(text.empty());
    heard.at(sample) += text;
  };
  EXPECT_EQ(answers({.max_tokens = 12, .batch_size = 2, .on_text = listen}), heard);
}

TEST_F(Generation, DrawsTheSameWithTheSameSeedWhateverItsCompany) {
  const SamplingOptions sampling{
      .temperature = 1.5F, .top_k = 50, .top_p = 0.95F, .repetition_penalty = 1.1F, .seed = 3};
  const std::vector<std::string> all = answers({.max_tokens = 8, .sampling = sampling});
  EXPECT_EQ(answers({.max_tokens = 8, .batch_size = 1, .sampling = sampling}), all);
  SamplingOptions other = sampling;
  other.seed = 4;
  EXPECT_NE(answers({.max_tokens = 8, .sampling = other}), all);
  EXPECT_THROW(answers({.sampling = {.temperature = -1}}), Error);
}

TEST_F(Generation, EndsAtAStopMark) {
  const std::vector<std::string> whole = answers({.max_tokens = 12});
  const std::size_t sample = 0;
  ASSERT_GT(whole[sample].size(), 3U);
  std::size_t at = 1;  // of a character in the middle
  while (at < whole[sample].size() && (static_cast<unsigned char>(whole[sample][at]) & 0xC0) == 0x80) ++at;
  const std::string mark = whole[sample].substr(at);
  EXPECT_EQ(answers({.max_tokens = 12, .stops = {mark}})[sample], whole[sample].substr(0, whole[sample].find(mark)));
}

std::vector<std::string> pieces_of(const std::string& text, const std::vector<std::string>& stops, bool& stopped) {
  const std::vector<std::int32_t> tokens = nano_tokenizer().encode(text, TextPlace::middle);
  AnswerText answer(nano_tokenizer(), stops);
  std::vector<std::string> pieces;
  for (std::size_t n = 1; n <= tokens.size() && !answer.is_stopped(); ++n) {
    pieces.push_back(answer.update({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)}));
  }
  pieces.push_back(answer.finish(tokens));
  stopped = answer.is_stopped();
  return pieces;
}

TEST(AnswerText, NeverSplitsACharacter) {
  const std::string text = "a 龘🐼 dumpling é饺子。";  // some of them are bytes to this tokenizer
  bool stopped = true;
  std::string all;
  bool waited = false;
  for (const std::string& piece : pieces_of(text, {}, stopped)) {
    EXPECT_TRUE(is_utf8(piece)) << piece;
    EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
    waited = waited || piece.empty();
    all += piece;
  }
  EXPECT_EQ(all, text);
  EXPECT_TRUE(waited);
  EXPECT_FALSE(stopped);
}

TEST(AnswerText, HoldsBackWhatMayBecomeAStopMark) {
  const auto told = [](const std::string& text, const std::vector<std::string>& stops, bool expected) {
    bool stopped = false;
    std::string all;
    for (const std::string& piece : pieces_of(text, stops, stopped)) all += piece;
    EXPECT_EQ(stopped, expected) << text;
    return all;
  };
  EXPECT_EQ(told("yes USER: no", {"USER:"}, true), "yes ");
  EXPECT_EQ(told("yes USE no", {"USER:"}, false), "yes USE no");
  EXPECT_EQ(told("yes USE", {"USER:"}, false), "yes USE");  // what was held back comes at the end
  EXPECT_EQ(told("有。没有。", {"。"}, true), "有");
}

TEST(AnswerText, BytesThatMakeNoCharacterComeAtTheEnd) {
  const std::int32_t byte = nano_tokenizer().find_piece("<0xE9>");
  ASSERT_GE(byte, 0);
  AnswerText answer(nano_tokenizer(), {});
  EXPECT_EQ(answer.update({byte}), "");
  EXPECT_EQ(answer.finish({byte}), "\uFFFD");
}

}  // namespace
}  // namespace skymm
