// Builds a small picture book of made-up glyphs: no package and no network is needed.
#include "io/picturebook/picturebook.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.hpp"
#include "io/dataset.hpp"
#include "io/image.hpp"
#include "io/picturebook/packages.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct PicturebookTest : ::testing::Test {
  static inline fs::path folder;

  static PicturebookOptions small(const fs::path& output) {
    PicturebookOptions options;
    options.output = output.string();
    options.drawn = true;
    options.scale = 0.01;
    return options;
  }
  static void SetUpTestSuite() {
    folder = fs::temp_directory_path() / fmt::format("skymm_picturebook_{}", ::getpid());
    build_picturebook(small(folder / "a"));
  }
  static void TearDownTestSuite() { fs::remove_all(folder); }
  static Dataset open(const std::string& name) { return Dataset((folder / "a" / name).string()); }
};

TEST_F(PicturebookTest, CanvasesHaveOnePictureAndACaptionInEachLanguage) {
  const Dataset set = open("canvases.h5");
  ASSERT_EQ(set.size(), 800);
  EXPECT_EQ(set.image_count(), 400);
  for (std::int64_t i = 0; i < set.size(); i += 2) {
    const Sample en = set.read(i), zh = set.read(i + 1);
    EXPECT_EQ(en.language, Language::english);
    EXPECT_EQ(zh.language, Language::chinese);
    EXPECT_EQ(en.images, zh.images);
    ASSERT_EQ(en.parts.size(), 3u);
    EXPECT_EQ(en.parts[1].text, "Describe the picture.");
    EXPECT_EQ(zh.parts[1].text, "描述图片。");
    EXPECT_EQ(en.parts[2].task, "caption");
    const auto truth = nlohmann::json::parse(en.annotations);
    for (const auto& object : truth["objects"]) {
      EXPECT_THAT(en.parts[2].text, HasSubstr(object["name_en"]));
      EXPECT_THAT(zh.parts[2].text, HasSubstr(object["name_zh"]));
    }
  }
  const Image image = decode_image(set.read(0).images[0]);
  EXPECT_EQ(image.width, canvas_size);
  EXPECT_EQ(image.height, canvas_size);
  set.verify();
}

TEST_F(PicturebookTest, InstructionSamplesAlternateQuestionsAndAnswers) {
  const Dataset set = open("stage2.h5");
  ASSERT_EQ(set.size(), 200);
  int yes = 0, no = 0;
  std::set<std::string> tasks;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const Sample sample = set.read(i);
    ASSERT_EQ(sample.parts.size(), 13u);
    EXPECT_EQ(sample.parts[0].kind, Part::Kind::image);
    for (std::size_t k = 1; k < sample.parts.size(); k += 2) {
      EXPECT_EQ(sample.parts[k].kind, Part::Kind::text);
      const Part& answer = sample.parts[k + 1];
      EXPECT_EQ(answer.kind, Part::Kind::answer);
      EXPECT_EQ(answer.polarity == Polarity::negative, answer.text == "no" || answer.text == "否");
      const bool closed = sample.parts[k].text.ends_with("yes or no.") || sample.parts[k].text.ends_with("是或否。");
      EXPECT_EQ(closed, answer.text == "no" || answer.text == "否" || answer.text == "yes" || answer.text == "是");
      yes += answer.text == "yes" || answer.text == "是";
      no += answer.text == "no" || answer.text == "否";
      tasks.insert(answer.task);
    }
  }
  EXPECT_EQ(tasks.size(), static_cast<std::size_t>(task_count));
  EXPECT_NEAR(yes, (yes + no) / 2, 65);  // four standard deviations of about 840 turns
}

TEST_F(PicturebookTest, TextOnlySamplesHaveNoPicture) {
  const Dataset set = open("scene_text.h5");
  ASSERT_EQ(set.size(), 1000);
  EXPECT_EQ(set.image_count(), 0);
  int told_again = 0, translated = 0;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const Sample sample = set.read(i);
    EXPECT_TRUE(sample.parts[0].text.ends_with("\n"));
    const bool again = sample.parts[2].task == "caption";
    EXPECT_EQ(sample.parts.size(), again ? 27u : 25u);
    told_again += again;
    translated += again && sample.parts[0].text != sample.parts[2].text + "\n";
  }
  EXPECT_NEAR(told_again, 300, 58);  // four standard deviations
  EXPECT_NEAR(translated, told_again * 0.1, 25);
}

TEST_F(PicturebookTest, LookUpsAskForNamesAndNeverTwice) {
  const Dataset set = open("scene_lookup.h5");
  ASSERT_EQ(set.size(), 600);
  int where = 0;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const Sample sample = set.read(i);
    ASSERT_GE(sample.parts.size(), 3U);
    std::set<std::string> asked;
    for (std::size_t k = 1; k < sample.parts.size(); k += 2) {
      const Part& answer = sample.parts[k + 1];
      EXPECT_TRUE(asked.insert(sample.parts[k].text).second) << sample.parts[k].text;
      EXPECT_TRUE(answer.task == "existence" || answer.task == "position") << answer.task;
      if (answer.task != "position") continue;
      ++where;
      EXPECT_THAT(sample.parts[0].text, ::testing::HasSubstr(answer.text));  // all told in the language of the question
    }
  }
  EXPECT_GT(where, 600);
}

TEST_F(PicturebookTest, HeldOutThingsStayOutOfTraining) {
  const auto names = [](const Dataset& set) {
    std::set<std::string> found;
    for (std::int64_t i = 0; i < set.size(); ++i) {
      const Sample sample = set.read(i, false);
      if (sample.annotations.empty()) continue;
      const auto truth = nlohmann::json::parse(sample.annotations);
      for (const auto& object : truth["objects"]) found.insert(object["name_en"]);
    }
    return found;
  };
  const auto objects_in = [](const Sample& sample) {
    return nlohmann::json::parse(sample.annotations)["objects"].size();
  };
  const auto held_out = [](const std::string& name) {
    return std::ranges::any_of(concepts(), [&](const Concept& c) { return c.held_out && c.name_en == name; });
  };
  for (const char* file : {"canvases.h5", "stage1.h5", "stage2.h5", "validation.h5", "style.h5"})
    for (const std::string& name : names(open(file))) EXPECT_FALSE(held_out(name)) << file << ": " << name;
  int found = 0;
  for (const std::string& name : names(open("heldout.h5"))) found += held_out(name);
  EXPECT_GT(found, 5);

  std::set<std::string> trained, unseen;
  for (const char* file : {"canvases.h5", "validation.h5"}) {
    const Dataset set = open(file);
    for (std::int64_t i = 0; i < set.size(); ++i)
      if (const Sample s = set.read(i, false); s.parts[2].task == "caption" && objects_in(s) > 1)
        (file[0] == 'c' ? trained : unseen).insert(s.parts[2].text);
  }
  EXPECT_FALSE(unseen.empty());
  for (const std::string& caption : unseen) EXPECT_FALSE(trained.contains(caption)) << caption;
}

// The official rule: consecutive pairs of lines belong to one picture; answers are yes or no.
TEST_F(PicturebookTest, EvaluationSetsFollowMmesLayout) {
  for (const std::string language : {"en", "zh"}) {
    int yes = 0, all = 0, second_yes_after_yes = 0, first_yes = 0;
    for (const std::string_view task : task_names) {
      const fs::path base = folder / "a" / "mme" / language / task;
      const bool apart = task == "scene";
      int texts = 0;
      for (const auto& entry : fs::directory_iterator(apart ? base / "questions_answers_YN" : base)) {
        if (entry.path().extension() != ".txt") continue;
        ++texts;
        const fs::path picture = (apart ? base / "images" : base) / (entry.path().stem().string() + ".png");
        EXPECT_NO_THROW(decode_image(contents(picture))) << picture;
        std::istringstream lines(contents(entry.path()));
        std::vector<std::pair<std::string, bool>> pairs;
        for (std::string line; std::getline(lines, line);) {
          const std::size_t tab = line.find('\t');
          ASSERT_NE(tab, std::string::npos) << line;
          const std::string question = line.substr(0, tab), answer = line.substr(tab + 1);
          EXPECT_TRUE(question.ends_with(language == "en" ? "Please answer yes or no." : "请回答是或否。")) << question;
          EXPECT_THAT(answer, language == "en" ? ::testing::AnyOf("Yes", "No") : ::testing::AnyOf("是", "否"));
          pairs.emplace_back(question, answer == "Yes" || answer == "是");
        }
        ASSERT_EQ(pairs.size(), 2u) << entry.path();
        EXPECT_NE(pairs[0].first, pairs[1].first);
        all += 2;
        yes += pairs[0].second + pairs[1].second;
        first_yes += pairs[0].second;
        second_yes_after_yes += pairs[0].second && pairs[1].second;
      }
      EXPECT_EQ(texts, 20) << task;
    }
    EXPECT_NEAR(yes, all / 2, 38) << language;                             // four standard deviations of 360
    EXPECT_NEAR(second_yes_after_yes, first_yes / 2.0, 19.0) << language;  // the first answer tells nothing
  }
}

TEST_F(PicturebookTest, TheSameSeedGivesTheSameBytes) {
  build_picturebook(small(folder / "b"));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "a")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const fs::path other = folder / "b" / fs::relative(entry.path(), folder / "a");
    if (entry.path().extension() == ".h5") {
      const Dataset x(entry.path().string()), y(other.string());
      ASSERT_EQ(x.size(), y.size());
      for (std::int64_t i = 0; i < x.size(); i += 7) {
        const Sample s = x.read(i), t = y.read(i);
        EXPECT_EQ(s.images, t.images);
        EXPECT_EQ(s.annotations, t.annotations);
        EXPECT_EQ(s.parts.back().text, t.parts.back().text);
      }
    } else {
      EXPECT_TRUE(contents(entry.path()) == contents(other)) << entry.path();
    }
  }
  EXPECT_GT(files, 700);
}

TEST_F(PicturebookTest, WithoutNegativesNothingAbsentIsAsked) {
  PicturebookOptions options = small(folder / "c");
  options.negatives = false;
  options.scale = 0.002;
  build_picturebook(options);
  const Dataset set((folder / "c/stage2.h5").string());
  for (std::int64_t i = 0; i < set.size(); ++i)
    for (const Part& part : set.read(i).parts) EXPECT_NE(part.polarity, Polarity::negative);
}

TEST_F(PicturebookTest, MissingPackagesAreNamed) {
  fs::create_directories(folder / "empty");
  PicturebookOptions options;
  options.output = (folder / "d").string();
  options.unpacked = (folder / "empty").string();
  try {
    build_picturebook(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("package fonts-noto-color-emoji is not unpacked"));
  }
}

TEST(Renderer, ObjectsLieInTheirBoxes) {
  const Glyphs glyphs = drawn_glyphs();
  const Renderer renderer(glyphs, {0, 1});
  Scene scene;
  scene.ground = {240, 241, 242};
  scene.objects = {{.concept_index = 0, .box = {2, 3, 30, 30}}, {.shape = 1, .colour = 4, .box = {70, 40, 28, 28}}};
  const Image image = renderer.render(scene);
  for (int y = 0; y < canvas_size; ++y)
    for (int x = 0; x < canvas_size; ++x) {
      const bool inside = (x >= 2 && x < 32 && y >= 3 && y < 33) || (x >= 70 && x < 98 && y >= 40 && y < 68);
      if (!inside) {
        EXPECT_EQ(image.at(x, y)[0], 240) << x << " " << y;
      }
    }
  EXPECT_EQ(image.at(84, 54)[2], colours[4].rgb[2]);
  scene.objects[0].concept_index = 2;
  EXPECT_THROW(renderer.render(scene), Error);
  Glyphs none = glyphs;
  none.pictures.clear();
  EXPECT_THROW(Renderer(none, {0}), Error);
}

}  // namespace
}  // namespace skymm
