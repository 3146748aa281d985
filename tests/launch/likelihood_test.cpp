#include "launch/evaluation/likelihood.hpp"

#include <cmath>

#include "launch/assembly/batches.hpp"
#include "launch/evaluation/run.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

class Likelihood : public ::testing::Test {
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

  static Choice choice(int picture, const std::string& question, std::vector<std::string> candidates) {
    Sample sample{.id = fmt::format("picture {}", picture)};
    if (picture >= 0) {
      sample.images = {testing::tiny_picture(picture)};
      sample.parts = {image_part(0)};
    }
    sample.parts.push_back(text_part(question));
    return {sample, std::move(candidates)};
  }

  // Pictures shared and not, text alone, answers of one token and of several, and one that begins another.
  static std::vector<Choice> choices() {
    return {choice(1, "Is there a panda? Please answer yes or no.", yes_no_candidates(Language::english)),
            choice(1, "Which?", {"A", "B", "C", "D"}),
            choice(2, "图里有熊猫吗？请回答是或否。", yes_no_candidates(Language::chinese)),
            choice(-1, "What is it?", {"a red panda", "a red dumpling", "a red panda and a dumpling", "a red panda"}),
            choice(3, "Is there a panda? Please answer yes or no.", yes_no_candidates(Language::english)),
            choice(4, "Which?", {"D", "C"})};
  }

  static std::vector<std::vector<double>> likelihoods(const std::vector<Choice>& of, int batch_size = 32) {
    return answer_likelihoods(*run_->assembly.model, run_->assembly.prompts(run_->config), run_->assembly.images, of,
                              batch_size);
  }

  // From the logits of the whole conversation by itself: log softmax at each token of the answer but the end mark.
  static double reference(const Sample& sample, const std::string& answer) {
    Multimodal& model = *run_->assembly.model;
    const PromptBuilder prompts = run_->assembly.prompts(run_->config);
    Sample answered = sample;
    answered.parts.push_back(answer_part(answer));
    const std::vector<std::int32_t> tokens = prompts.tokenize(answered).tokens;
    const std::size_t prompt = prompts.prompt(sample).tokens.size();
    EXPECT_EQ(tokens.back(), prompts.stop_token());
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
    if (!sample.images.empty()) host.pixels = load_pixels(sample.images[0], run_->assembly.images);
    Graph graph(Graph::Mode::inference);
    const Batch batch = to_batch(host, run_->assembly.images.size, model.dtype(), 0, 0, false);
    double sum = 0;
    for (std::size_t i = prompt; i + 1 < tokens.size(); ++i) {
      const std::vector<float> logits =
          model.logits(graph, batch, Tensor::from(std::vector{static_cast<std::int32_t>(i - 1)}, {1})).to_vector();
      double total = 0;
      for (const float logit : logits) total += std::exp(static_cast<double>(logit));
      sum += static_cast<double>(logits[static_cast<std::size_t>(tokens[i])]) - std::log(total);
    }
    return sum;
  }

  static inline std::unique_ptr<testing::TemporaryFolder> folder_;
  static inline std::unique_ptr<skymm::Run> run_;
};

TEST_F(Likelihood, IsThatOfTheLogits) {
  const std::vector<Choice> asked = choices();
  std::vector<std::string> best;
  const auto found = likelihoods(asked);
  ASSERT_EQ(found.size(), asked.size());
  for (std::size_t i = 0; i < asked.size(); ++i) {
    std::vector<double> expected;
    for (const std::string& candidate : asked[i].candidates) expected.push_back(reference(asked[i].sample, candidate));
    ASSERT_EQ(found[i].size(), expected.size());
    for (std::size_t k = 0; k < expected.size(); ++k) {
      EXPECT_LT(expected[k], 0);
      EXPECT_NEAR(found[i][k], expected[k], 1e-4) << asked[i].candidates[k];
    }
    best.push_back(
        asked[i].candidates[static_cast<std::size_t>(std::ranges::max_element(expected) - expected.begin())]);
  }
  const auto answers =
      most_likely_answers(*run_->assembly.model, run_->assembly.prompts(run_->config), run_->assembly.images, asked);
  EXPECT_EQ(answers, best);
  EXPECT_NEAR(found[3][0], found[3][3], 1e-4);  // the same answer
  EXPECT_GT(std::abs(found[0][0] - found[4][0]), 1e-4)
      << "the model does not look at its pictures, so that the test would not see a mix-up";
}

TEST_F(Likelihood, DoesNotDependOnTheBatch) {
  const auto together = likelihoods(choices());
  for (const int size : {1, 4}) {
    const auto found = likelihoods(choices(), size);
    for (std::size_t i = 0; i < together.size(); ++i) {
      for (std::size_t k = 0; k < together[i].size(); ++k) EXPECT_NEAR(found[i][k], together[i][k], 1e-4);
    }
  }
  EXPECT_TRUE(likelihoods({}).empty());
}

TEST_F(Likelihood, NamesWhatCannotBeScored) {
  const auto error = [](const Choice& choice) { return testing::error_of([&] { likelihoods({choice}, 32); }); };
  Choice bad = choice(1, "Which?", {"A", "B"});
  bad.sample.images[0] = "no picture";
  EXPECT_THAT(error(bad), ::testing::HasSubstr("picture 1: "));
  EXPECT_THAT(error(choice(2, std::string(20'000, 'x'), {"A", "B"})), ::testing::HasSubstr("picture 2: "));
  EXPECT_THAT(error(choice(3, "Which?", {"A", ""})), ::testing::HasSubstr("picture 3: '' cannot be scored"));
}

}  // namespace
}  // namespace skymm
