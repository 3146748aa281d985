#include "launch/chat_command.hpp"

#include <sstream>

#include "launch/config/options.hpp"
#include "launch/evaluation/generation.hpp"
#include "launch/evaluation/run.hpp"
#include "support/tiny_run.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::tiny_picture;

class ChatCommand : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TemporaryFolder>();
    for (const char* name : {"run", "blind"}) std::filesystem::create_directories(folder_->file(name));
    testing::write_tiny_run(run());
    testing::write_tiny_run(folder_->file("blind"), "none");
    write_file(folder_->file("a b.png"), tiny_picture(1));
    write_file(folder_->file("other.png"), tiny_picture(2));
    write_file(folder_->file("broken.png"), tiny_picture(1).substr(0, 60));
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string run() { return folder_->file("run"); }

  static std::string chat(std::vector<std::string> arguments, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out;
    arguments.insert(arguments.end(), {"--max-tokens", "6"});
    EXPECT_EQ(chat_command(arguments, in, out), 0);
    return out.str();
  }
  // What the model says, asked directly.
  static std::string answer(const std::string& picture, std::vector<Part> parts) {
    skymm::Run opened = open_run(run());
    Sample sample;
    sample.images = {picture};
    sample.parts = {image_part(0)};
    sample.parts.insert(sample.parts.end(), parts.begin(), parts.end());
    const std::string text = generate(*opened.assembly.model, opened.assembly.prompts(opened.config),
                                      opened.assembly.images, {sample}, {.max_tokens = 6})
                                 .front();
    return std::string(trimmed(text));
  }

  static inline std::unique_ptr<testing::TemporaryFolder> folder_;
};

TEST_F(ChatCommand, AnswersOneQuestion) {
  const std::string out = chat({"--run", run(), "--image", folder_->file("a b.png"), "--ask", "图里有什么？"});
  EXPECT_EQ(out, answer(tiny_picture(1), {text_part("图里有什么？")}) + "\n");
}

TEST_F(ChatCommand, RemembersTheConversation) {
  const std::string first = answer(tiny_picture(1), {text_part("What is it?")});
  const std::string second =
      answer(tiny_picture(1), {text_part("What is it?"), answer_part(first), text_part("有吗？")});
  const std::string other = answer(tiny_picture(2), {text_part("有吗？")});
  const std::string shown = "/image " + folder_->file("a b.png") + "\n";
  EXPECT_THAT(chat({"--run", run()}, shown + "What is it?\n\n  有吗？ \n/quit\nnever asked\n"),
              ::testing::EndsWith("a b.png\n" + first + "\n" + second + "\n"));
  // A new picture and /clear forget.
  EXPECT_THAT(chat({"--run", run()}, shown + "What is it?\n/image " + folder_->file("other.png") + "\n有吗？\n"),
              ::testing::EndsWith("other.png\n" + other + "\n"));
  EXPECT_THAT(chat({"--run", run()}, shown + "What is it?\n/clear\nWhat is it?"),
              ::testing::EndsWith("a new conversation\n" + first + "\n"));
}

TEST_F(ChatCommand, ForgetsTheOldestTurnsWhenItGrowsTooLong) {
  std::string question, input;
  for (int i = 0; i < 60; ++i) question += "Is there a panda? ";
  for (int i = 0; i < 7; ++i) input += question + "\n";
  EXPECT_THAT(chat({"--run", run()}, input), Not(HasSubstr("the limit is")));
  for (int i = 0; i < 3; ++i) question += question;
  EXPECT_THAT(chat({"--run", run()}, question + "\nIs it?\n"), HasSubstr("the limit is 2048; shorten it\n"));
}

TEST_F(ChatCommand, GoesOnAfterAnError) {
  const std::string out = chat(
      {"--run", run(), "--image", folder_->file("a b.png")},
      "/image nowhere.png\n/image " + folder_->file("broken.png") + "\n/image\n/imaeg x\n\xff\n/help\nWhat is it?\n");
  EXPECT_THAT(out, AllOf(HasSubstr("nowhere.png"), HasSubstr("broken.png cannot be shown: "),
                         HasSubstr("which picture? /image PATH"), HasSubstr("did you mean /image"),
                         HasSubstr("not UTF-8"), HasSubstr("/clear  ")));
  EXPECT_THAT(out, ::testing::EndsWith(answer(tiny_picture(1), {text_part("What is it?")}) + "\n"))
      << "the picture before stays";
}

TEST_F(ChatCommand, SaysWhatIsWrong) {
  const auto error = [](const std::vector<std::string>& arguments) { return error_of([&] { chat(arguments); }); };
  EXPECT_THAT(error({}), HasSubstr("skymm chat needs --run"));
  EXPECT_THAT(error({"--run", run(), "--ask", " "}), HasSubstr("--ask is empty"));
  EXPECT_THAT(error({"--run", run(), "--top-p", "2"}), HasSubstr("top-p 2 is out of range"));
  EXPECT_THAT(error({"--run", run(), "--stop", ""}), HasSubstr("--stop is empty"));
  EXPECT_THAT(error({"--run", run(), "--imgae", "x"}), HasSubstr("did you mean '--image'"));
  EXPECT_THAT(error({"--run", run(), "--image", "nowhere.png"}), HasSubstr("nowhere.png"));
  EXPECT_THAT(error({"--run", run(), "--image", folder_->file("broken.png")}), HasSubstr("broken.png cannot be shown"));
  EXPECT_THAT(error({"--run", folder_->file("blind"), "--image", folder_->file("other.png")}),
              HasSubstr("has no vision model"));
  EXPECT_THAT(chat({"--run", folder_->file("blind"), "--ask", "有吗？"}), ::testing::EndsWith("\n"));
  std::ostringstream out;
  std::istringstream in;
  EXPECT_EQ(chat_command({"--help"}, in, out), 0);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("--max-tokens N"), HasSubstr("/image PATH"), HasSubstr("图里有什么")));
}

}  // namespace
}  // namespace skymm
