// The sets come back whole from the readers of `skymm eval`, and what they say is true. Glyphs are made up: no package
// is needed.
#include "io/picturebook/evaluation_sets.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "io/file.hpp"
#include "io/image.hpp"
#include "io/mmbench_table.hpp"
#include "io/picturebook/choices.hpp"
#include "io/picturebook/picturebook.hpp"
#include "io/picturebook/position.hpp"
#include "launch/evaluation/mmbench.hpp"
#include "launch/evaluation/mme.hpp"
#include "launch/evaluation/pope.hpp"
#include "support/scene_truth.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;
using testing::SceneTruth;
using testing::TemporaryFolder;

constexpr int mme_pictures = 24, mmbench_pictures = 60, pope_pictures = 60;

struct EvaluationSets : ::testing::Test {
  static inline std::optional<TemporaryFolder> folder;

  static EvaluationSetOptions options(const std::string& name, int pictures) {
    EvaluationSetOptions options;
    options.output = folder->file(name);
    options.pictures = pictures;
    options.drawn = true;
    return options;
  }
  static void SetUpTestSuite() {
    folder.emplace();
    build_picturebook_mme(options("mme", mme_pictures));
    build_picturebook_mmbench(options("mmbench", mmbench_pictures));
    build_picturebook_pope(options("pope", pope_pictures));
  }
  static void TearDownTestSuite() { folder.reset(); }

  // The lines of a set's annotations.jsonl, by what they say of the picture.
  static std::map<std::string, json> annotations(const std::string& set, const char* key) {
    std::map<std::string, json> all;
    std::istringstream lines(read_file(folder->file(set + "/annotations.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      const json entry = json::parse(line);
      const json& name = entry.at(key);
      EXPECT_TRUE(all.emplace(name.is_string() ? name.get<std::string>() : name.dump(), entry).second) << line;
    }
    return all;
  }
};

// A scene as far as annotations tell it.
Scene scene_of(const json& annotation) {
  Scene scene;
  const auto box = [](const json& o) { return Box{o.at("x"), o.at("y"), o.at("w"), o.at("h")}; };
  for (const json& o : annotation.at("objects")) {
    SceneObject object{.box = box(o)};
    const std::string name = o.at("name_en"), color = o.value("color", "");
    if (color.empty()) {
      object.concept_index =
          static_cast<int>(std::ranges::find(concepts(), name, &Concept::name_en) - concepts().begin());
    } else {
      object.shape = static_cast<int>(std::ranges::find(shape_names, name, &Named::en) - shape_names.begin());
      object.colour = static_cast<int>(std::ranges::find(colours, color, &Colour::en) - colours.begin());
    }
    scene.objects.push_back(object);
  }
  if (const json& text = annotation.at("text"); !text.is_null()) {
    scene.text.kind = TextKind::number;  // whichever
    scene.text.text = text.at("text");
    scene.text.box = box(text);
  }
  return scene;
}

TEST_F(EvaluationSets, LayoutsAndConceptsAreHeldOutAsTheyShouldBe) {
  int several = 0;
  for (const auto& [set, key] : {std::pair{"mme", "image"}, {"mmbench", "index"}, {"pope", "image"}}) {
    for (const auto& [name, annotation] : annotations(set, key)) {
      const Scene scene = scene_of(annotation);
      for (const SceneObject& object : scene.objects) EXPECT_LT(object.concept_index, training_concepts());
      if (scene.objects.size() < 2) continue;  // told apart by pixels, which annotations do not hold
      EXPECT_TRUE(is_held_out_layout(scene)) << set << " " << annotation;
      ++several;
    }
  }
  EXPECT_GT(several, 1000);
}

TEST_F(EvaluationSets, MmeIsReadWholeTrueAndEven) {
  const auto truths = annotations("mme", "image");
  std::size_t pictures = 0;
  for (const std::string language : {"en", "zh"}) {
    const std::vector<MmeTask> tasks = read_mme(folder->file("mme/" + language));
    ASSERT_EQ(tasks.size(), static_cast<std::size_t>(task_count + position_grade_count));
    std::set<std::string> names;
    int yes = 0, all = 0, first_yes = 0, both_yes = 0;
    for (const MmeTask& task : tasks) {
      names.insert(task.name);
      ASSERT_EQ(task.questions.size(), 2U * mme_pictures) << task.name;
      bool last = false;
      for (std::size_t q = 0; q < task.questions.size(); ++q) {
        const MmeQuestion& question = task.questions[q];
        const bool truth = question.truth == (language == "en" ? "Yes" : "是");
        if (!truth) {
          EXPECT_EQ(question.truth, language == "en" ? "No" : "否");
        }
        const std::string picture = fs::relative(question.path, folder->file("mme")).string();
        ASSERT_TRUE(truths.contains(picture)) << picture;
        EXPECT_EQ(SceneTruth(truths.at(picture).dump()).holds(question.question), truth) << question.question << "\n"
                                                                                         << truths.at(picture);
        ++all, yes += truth;
        if (q % 2 == 0) {
          EXPECT_EQ(decode_image(read_file(question.path)).width, canvas_size);
          ++pictures, first_yes += truth;
        } else {
          EXPECT_NE(question.question, task.questions[q - 1].question);
          both_yes += last && truth;
        }
        last = truth;
      }
    }
    for (const std::string_view grade : position_grade_names) EXPECT_TRUE(names.contains(std::string(grade))) << grade;
    EXPECT_NEAR(yes, all / 2, 50) << language;                 // four standard deviations of 624
    EXPECT_NEAR(both_yes, first_yes / 2.0, 26.0) << language;  // the first answer tells nothing of the second
  }
  EXPECT_EQ(truths.size(), pictures);
}

TEST_F(EvaluationSets, MmeBeginsAsThePictureBooks) {
  PicturebookOptions book;
  book.output = folder->file("book");
  book.drawn = true;
  book.scale = 0.0005;  // 20 pictures of each task all the same
  build_picturebook(book);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder->file("book/mme"))) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const std::string name = fs::relative(entry.path(), folder->file("book/mme")).string();
    EXPECT_TRUE(read_file(entry.path().string()) == read_file(folder->file("mme/" + name))) << name;
  }
  EXPECT_EQ(files, 2 * task_count * 20 * 2);
}

TEST_F(EvaluationSets, MmbenchIsReadWholeTrueAndEven) {
  const auto truths = annotations("mmbench", "index");
  const std::size_t rows = choice_tasks().size() * mmbench_pictures;
  ASSERT_EQ(truths.size(), rows);
  std::vector<std::string> letters, pictures;
  for (const std::string language : {"en", "zh"}) {
    const std::string path = folder->file("mmbench/mmbench_dev_" + language + ".tsv");
    std::map<std::size_t, std::map<char, int>> places;  // by the number of options
    std::string all_letters, all_pictures;
    std::map<std::string, int> categories;
    MmbenchTable table(path);
    std::size_t count = 0;
    for (MmbenchRow row; table.next(row, true); ++count) {
      ASSERT_EQ(row.problem, "") << table.line();
      const json& annotation = truths.at(std::to_string(row.index));
      const std::string& right = row.options.at(static_cast<std::size_t>(row.answer - 'A'));
      EXPECT_EQ(SceneTruth(annotation.dump()).right(row.question, row.options), std::vector<std::string>{right})
          << row.question << "\n"
          << annotation;
      const auto task = std::ranges::find(choice_tasks(), annotation.at("task"), &ChoiceTask::name);
      ASSERT_NE(task, choice_tasks().end());
      EXPECT_EQ(row.category, task->category);
      EXPECT_EQ(row.l2_category, task->l2_category);
      ++categories[row.category];
      ++places[row.options.size()][row.answer];
      EXPECT_EQ(decode_image(row.image).width, canvas_size);
      all_letters += row.answer, all_pictures += row.image;
    }
    EXPECT_EQ(count, rows);
    EXPECT_EQ(categories.size(), choice_tasks().size());
    letters.push_back(all_letters), pictures.push_back(all_pictures);
    for (const auto& [options, of] : places) {
      int sum = 0;
      for (const auto& [letter, times] : of) sum += times;
      for (const auto& [letter, times] : of)
        EXPECT_NEAR(times, sum / static_cast<int>(options), 2.2 * std::sqrt(sum)) << letter << " of " << options;
    }
    // Circular evaluation: every rotation is made, and who knows the answers has all points.
    const auto questions = read_mmbench_table(path, [](std::size_t) { return false; });
    EXPECT_EQ(questions.size(), mmbench_pictures * (9 * 4 + 3 + 2 * 2));
    std::vector<std::string> answers;
    for (const MmbenchQuestion& question : questions) answers.emplace_back(1, question.answer);
    const MmbenchScores scores = score_mmbench(questions, answers);
    EXPECT_EQ(scores.all.questions, static_cast<std::int64_t>(rows));
    EXPECT_DOUBLE_EQ(scores.all.accuracy(), 1);
    ASSERT_EQ(scores.l2.size(), 5U);
    EXPECT_EQ(scores.l2[0].name, "coarse_perception");
  }
  EXPECT_EQ(letters[0], letters[1]);
  EXPECT_TRUE(pictures[0] == pictures[1]);
}

// Things on each picture, by English name, and how often they and pairs of them occur.
struct PopeFacts {
  std::map<std::string, std::set<std::string>> on;  // by picture
  std::map<std::string, int> alone;
  std::map<std::pair<std::string, std::string>, int> together;

  explicit PopeFacts(const std::map<std::string, json>& annotations) {
    for (const auto& [picture, annotation] : annotations)
      for (const json& object : annotation.at("objects")) on[picture].insert(object.at("name_en"));
    for (const auto& [picture, names] : on) {
      for (const std::string& a : names) {
        ++alone[a];
        for (const std::string& b : names) ++together[{a, b}];
      }
    }
  }
  int frequency(const std::string& split, const std::string& picture, const std::string& name) const {
    const auto of = [](const auto& counts, const auto& key) { return counts.contains(key) ? counts.at(key) : 0; };
    if (split == "popular") return of(alone, name);
    int sum = 0;
    for (const std::string& present : on.at(picture)) sum += of(together, std::pair{present, name});
    return sum;
  }
};

TEST_F(EvaluationSets, PopeIsReadWholeTrueAndEven) {
  const auto truths = annotations("pope", "image");
  ASSERT_EQ(truths.size(), static_cast<std::size_t>(pope_pictures));
  for (const std::string language : {"en", "zh"}) {
    const std::vector<PopeSplit> splits = read_pope_splits(folder->file("pope/" + language));
    ASSERT_EQ(splits.size(), 3U);
    EXPECT_EQ(splits[0].name + splits[1].name + splits[2].name, "randompopularadversarial");
    for (const PopeSplit& split : splits) {
      ASSERT_EQ(split.questions.size(), 6U * pope_pictures);
      std::set<std::string> asked;
      std::map<std::string, int> yes, no;
      for (const PopeQuestion& question : split.questions) {
        EXPECT_TRUE(asked.insert(question.image + question.text).second) << question.text;
        EXPECT_EQ(SceneTruth(truths.at(question.image).dump()).holds(question.text), question.yes)
            << question.text << truths.at(question.image);
        EXPECT_TRUE(fs::exists(folder->file("pope/images/" + question.image)));
        ++(question.yes ? yes : no)[question.image];
      }
      EXPECT_EQ(split.questions.back().id, std::to_string(6 * pope_pictures));
      for (const auto& [picture, truth] : truths) EXPECT_EQ(yes[picture] * 10 + no[picture], 33) << picture;
    }
  }
}

TEST_F(EvaluationSets, PopesSettingsFollowTheCountsOnThePictures) {
  const PopeFacts facts(annotations("pope", "image"));
  const std::vector<PopeSplit> splits = read_pope_splits(folder->file("pope/en"));
  std::set<std::string> random_names;
  for (const PopeSplit& split : splits) {
    std::map<std::string, std::set<std::string>> absent;  // asked, by picture
    for (const PopeQuestion& question : split.questions) {
      if (question.yes) continue;
      const auto named = std::ranges::find_if(concepts(), [&](const Concept& c) {
        return question.text.starts_with(fmt::format("Is there {} in", with_article(c.name_en)));
      });
      ASSERT_NE(named, concepts().end()) << question.text;
      absent[question.image].emplace(named->name_en);
      if (split.name == "random") random_names.emplace(named->name_en);
    }
    if (split.name == "random") continue;
    for (const auto& [picture, asked] : absent) {
      int least = 1 << 20, most_left_out = 0;
      for (int c = 0; c < training_concepts(); ++c) {
        const std::string name(concepts()[static_cast<std::size_t>(c)].name_en);
        if (facts.on.at(picture).contains(name)) continue;
        const int frequency = facts.frequency(split.name, picture, name);
        if (asked.contains(name)) {
          least = std::min(least, frequency);
        } else {
          most_left_out = std::max(most_left_out, frequency);
        }
      }
      EXPECT_GE(least, most_left_out) << split.name << " " << picture;
    }
  }
  EXPECT_GT(random_names.size(), 60U);  // of 180 drawn
}

TEST_F(EvaluationSets, TheSeedDecidesEveryByte) {
  EvaluationSetOptions again = options("again", 5), other = options("other", 5);
  other.seed = 2;
  const auto read = [](const EvaluationSetOptions& options, const char* file) {
    return read_file(options.output + "/" + file);
  };
  struct Set {
    void (*build)(const EvaluationSetOptions&);
    const char* file;
  };
  for (const auto& [build, file] :
       {Set{build_picturebook_mme, "annotations.jsonl"}, Set{build_picturebook_mmbench, "mmbench_dev_zh.tsv"},
        Set{build_picturebook_pope, "zh/picturebook_pope_adversarial.json"}}) {
    build(again), build(other);
    const std::string first = read(again, file);
    build(again);
    EXPECT_TRUE(read(again, file) == first) << file;
    EXPECT_FALSE(read(other, file) == first) << file;
  }
}

TEST_F(EvaluationSets, WhatCannotBeMadeIsRefused) {
  EXPECT_THAT(error_of([] { build_picturebook_pope(options("none", 0)); }),
              HasSubstr("0 pictures; there must be 1 to"));
  EvaluationSetOptions empty = options("empty", 1);
  empty.drawn = false;
  empty.unpacked = folder->path();
  EXPECT_THAT(error_of([&] { build_picturebook_mme(empty); }), HasSubstr("is not unpacked"));
}

}  // namespace
}  // namespace skymm
