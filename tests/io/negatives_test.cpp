#include "io/derive/negatives.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.hpp"
#include "io/dataset.hpp"
#include "io/derive/mismatched.hpp"
#include "io/derive/scene_facts.hpp"
#include "io/derive/translate.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

json object(const std::string& en, const std::string& zh, const std::string& colour, int x, int y) {
  json made = {{"name_en", en}, {"name_zh", zh}, {"x", x}, {"y", y}, {"w", 10}, {"h", 10}};
  if (!colour.empty()) made["color"] = colour;
  return made;
}

class Negatives : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  NegativesOptions options_{
      .input = folder_.file("in.h5"), .output = folder_.file("out.h5"), .vocabulary = {}, .seed = 3, .pairs = 4};

  // Picture i shows i % 3 + 1 dogs, a red ball to the left of them, and in half of the pictures a kite far below.
  void write_annotated(int n) const {
    DatasetWriter writer(options_.input);
    for (int i = 0; i < n; ++i) {
      Sample sample{.id = std::to_string(i), .images = {"picture " + std::to_string(i)}};
      sample.parts = {image_part(0), answer_part("A picture.", "caption")};
      json objects = {object("ball", "球", "red", 0, 0)};
      for (int d = 0; d <= i % 3; ++d) objects.push_back(object("dog", "狗", "", 30 + 15 * d, 0));
      if (i % 2) objects.push_back(object("kite", "风筝", "blue", 0, 90));
      sample.annotations = json{{"objects", objects}}.dump();
      writer.add(sample);
      sample.id += "-again";  // the same picture: not asked about twice
      writer.add(sample);
    }
    writer.close();
  }
};

TEST_F(Negatives, AreTrueToTheAnnotationsAndBalanced) {
  write_annotated(60);
  const NegativesResult result = build_negatives(options_);
  EXPECT_EQ(result.pictures, 60);
  EXPECT_EQ(result.samples, 120);
  const Dataset set(options_.output);
  std::map<std::string, std::int64_t> kinds;
  std::set<std::string> questions, answers;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const Sample sample = set.read(i);
    const int picture = static_cast<int>(i / 2), dogs = picture % 3 + 1;
    const bool chinese = sample.language == Language::chinese;
    EXPECT_EQ(sample.images[0], "picture " + std::to_string(picture));
    int balance = 0;
    for (std::size_t p = 1; p + 1 < sample.parts.size(); p += 2) {
      const std::string& question = sample.parts[p].text;
      const Part& answer = sample.parts[p + 1];
      const bool yes = answer.polarity == Polarity::positive;
      balance += yes ? 1 : -1;
      ++kinds[answer.task + (yes ? " yes" : " no")];
      questions.insert(question);
      answers.insert(answer.text);
      EXPECT_EQ(question.find_first_of("{}"), std::string::npos) << question;
      const auto names = [&](const char* en, const char* zh) {
        return question.find(chinese ? zh : en) != std::string::npos;
      };
      if (answer.task == "existence") {
        const bool there = names("ball", "球") || names("dog", "狗") || (names("kite", "风筝") && picture % 2);
        EXPECT_EQ(there, yes) << question << answer.text;
      } else if (answer.task == "attribute") {
        EXPECT_EQ(names("ball", "球") ? names("red", "红色") : names("blue", "蓝色"), yes) << question;
      } else if (answer.task == "count" && names("dog", "狗")) {
        const char* numbers[][2] = {{"one", "一个"}, {"two", "两个"}, {"three", "三个"}};
        EXPECT_EQ(names(numbers[dogs - 1][0], numbers[dogs - 1][1]), yes) << question;
      } else if (answer.task == "relation" && dogs == 1 && names("ball", "球") && names("dog", "狗")) {
        const bool ball_first = question.find(chinese ? "球" : "ball") < question.find(chinese ? "狗" : "dog");
        EXPECT_EQ(names("left", "左边") == ball_first, yes) << question;
      }
    }
    EXPECT_EQ(balance, 0) << "picture " << picture;
  }
  for (const char* kind : {"existence", "attribute", "count", "relation"}) {
    EXPECT_GT(kinds[std::string(kind) + " yes"], 5) << kind;
    EXPECT_EQ(kinds[std::string(kind) + " yes"], kinds[std::string(kind) + " no"]) << kind;
  }
  EXPECT_GT(questions.size(), 60U);
  EXPECT_GT(answers.size(), 40U);
  EXPECT_EQ(json::parse(set.provenance()).at("seed"), 3);
}

TEST_F(Negatives, StrategiesDrawAsTheySay) {
  Occurrence occurrence;
  const auto facts = [](std::initializer_list<int> things) {
    SceneFacts made;
    for (const int thing : things) made.objects.push_back({.thing = thing});
    return made;
  };
  for (int i = 0; i < 90; ++i) occurrence.add(facts({0, 1}));
  for (int i = 0; i < 9; ++i) occurrence.add(facts({2, 3}));
  occurrence.add(facts({4}));
  const auto share = [&](int how, std::initializer_list<int> there, int thing) {
    RandomStream random(1);
    int drawn = 0;
    for (int i = 0; i < 1000; ++i) drawn += occurrence.absent(facts(there), how, random) == thing;
    return drawn / 1000.0;
  };
  EXPECT_NEAR(share(0, {2}, 4), 0.25, 0.05);  // of 0, 1, 3, 4
  EXPECT_NEAR(share(1, {2}, 0), 90.0 / 190, 0.05);
  EXPECT_EQ(share(2, {2}, 3), 1);  // all that ever stood beside it
  EXPECT_EQ(share(2, {0}, 1), 1);
  EXPECT_NEAR(share(2, {4}, 0), 0.25, 0.05);  // nothing did: as at random
  RandomStream random(1);
  EXPECT_FALSE(occurrence.absent(facts({0, 1, 2, 3, 4}), 1, random).has_value());
}

TEST_F(Negatives, CaptionsAreReadByAVocabulary) {
  DatasetWriter writer(options_.input);
  const char* captions[] = {"Two dogs and a Teddy Bear.", "A hotdog on a plate", "一只狗和一个盘子。",
                            "Nothing known."};
  for (int i = 0; i < 4; ++i) {
    writer.add(
        {.id = std::to_string(i), .images = {std::to_string(i)}, .parts = {image_part(0), answer_part(captions[i])}});
  }
  writer.close();
  write_file(folder_.file("names.txt"), "dog\t狗\nteddy bear\t泰迪熊\nplate\t盘子\nbus\n");
  options_.vocabulary = read_vocabulary(folder_.file("names.txt"));
  ASSERT_EQ(options_.vocabulary.size(), 4U);
  Vocabulary names(options_.vocabulary);
  const Dataset input(options_.input);
  const auto things = [&](int i) {
    std::vector<int> found;
    for (const KnownObject& known : names.facts_of(input.read(i)).objects) found.push_back(known.thing);
    return found;
  };
  EXPECT_EQ(things(0), (std::vector<int>{0, 1}));
  EXPECT_EQ(things(1), std::vector<int>{2});  // a hotdog is no dog
  EXPECT_EQ(things(2), (std::vector<int>{0, 2}));
  const NegativesResult result = build_negatives(options_);
  EXPECT_EQ(result.without_objects, 1);
  EXPECT_EQ(result.samples, 6);
  options_.vocabulary.clear();
  options_.output = folder_.file("none.h5");
  EXPECT_THAT(error_of([&] { build_negatives(options_); }), HasSubstr("give a vocabulary"));
}

TEST_F(Negatives, SameSeedSameSet) {
  write_annotated(6);
  build_negatives(options_);
  NegativesOptions again = options_, other = options_;
  again.output = folder_.file("again.h5"), other.output = folder_.file("other.h5");
  other.seed = 4;
  build_negatives(again);
  build_negatives(other);
  const auto text_of = [](const std::string& path) {
    std::string text;
    const Dataset set(path);
    for (std::int64_t i = 0; i < set.size(); ++i) {
      for (const Part& part : set.read(i).parts) text += part.text + "\n";
    }
    return text;
  };
  EXPECT_EQ(text_of(options_.output), text_of(again.output));
  EXPECT_NE(text_of(options_.output), text_of(other.output));
}

TEST_F(Negatives, TranslationsMakeTheLinkedCopy) {
  DatasetWriter writer(options_.input);
  for (int i = 0; i < 3; ++i) {
    writer.add({.id = std::to_string(i),
                .images = {"picture " + std::to_string(i)},
                .parts = {image_part(0), text_part("What is it?"),
                          answer_part(i == 2 ? "A kite." : "A dog.", "object", Polarity::positive)},
                .language = Language::english});
  }
  writer.close();
  write_file(folder_.file("t.tsv"), "source\ttranslation\nWhat is it?\t这是什么？\nA dog.\t一只狗。\n");
  TranslateResult result =
      translate_dataset(options_.input, folder_.file("t.tsv"), folder_.file("zh.h5"), Language::chinese);
  EXPECT_EQ(result.translated, 2);
  EXPECT_EQ(result.without_translation, 1);
  const Sample copy = Dataset(folder_.file("zh.h5")).read(1);
  EXPECT_EQ(copy.id, "1-zh");
  EXPECT_EQ(copy.images[0], "picture 1");
  EXPECT_EQ(copy.language, Language::chinese);
  EXPECT_EQ(copy.parts[1].text, "这是什么？");
  EXPECT_EQ(copy.parts[2].text, "一只狗。");
  EXPECT_EQ(copy.parts[2].task, "object");
  EXPECT_EQ(json::parse(copy.annotations).at("translation_of"), "1");

  write_file(folder_.file("t.jsonl"), R"({"id": "2", "texts": ["这是什么？", "一只风筝。"]})"
                                      "\n"
                                      R"({"id": "1", "texts": ["短"]})"
                                      "\n");
  result = translate_dataset(options_.input, folder_.file("t.jsonl"), folder_.file("zh2.h5"), Language::chinese);
  EXPECT_EQ(result.translated, 1);
  EXPECT_EQ(Dataset(folder_.file("zh2.h5")).read(0).parts[2].text, "一只风筝。");
  write_file(folder_.file("bad.jsonl"), "{\"id\": 1}\n");
  EXPECT_THAT(error_of([&] {
                translate_dataset(options_.input, folder_.file("bad.jsonl"), folder_.file("zh3.h5"), Language::chinese);
              }),
              HasSubstr("bad.jsonl:1"));
  write_file(folder_.file("bad.jsonl"), "{\"id\": \"1\", \"texts\": [\"a\"]}\n{\"id\": \"1\", \"texts\": [\"b\"]}\n");
  EXPECT_THAT(error_of([&] {
                translate_dataset(options_.input, folder_.file("bad.jsonl"), folder_.file("zh3.h5"), Language::chinese);
              }),
              HasSubstr("bad.jsonl:2: the id '1' comes twice"));
}

// In each language the texts of about the share go round; pictures stay in their places.
TEST_F(Negatives, MismatchedPairsKeepTheirPicturesAndEveryText) {
  DatasetWriter writer(options_.input);
  for (int i = 0; i < 400; ++i) {
    const bool chinese = i % 2 == 1;
    writer.add({.id = std::to_string(i),
                .images = {"picture " + std::to_string(i)},
                .parts = {image_part(0), answer_part((chinese ? "图片 " : "Picture ") + std::to_string(i), "caption")},
                .language = chinese ? Language::chinese : Language::english,
                .annotations = R"({"tags": ["dog"]})"});
  }
  // Alone in its form: it keeps its text, whatever the share.
  writer.add({.id = "text", .parts = {text_part("Hello."), answer_part("Hi.")}, .language = Language::english});
  writer.close();
  const MismatchedResult result =
      build_mismatched({.input = options_.input, .output = options_.output, .share = 0.5, .seed = 3});
  EXPECT_EQ(result.samples, 401);
  EXPECT_NEAR(static_cast<double>(result.mismatched), 200, 30);
  const Dataset set(options_.output);
  std::set<std::string> texts;
  std::int64_t moved = 0;
  for (int i = 0; i < 400; ++i) {
    const Sample sample = set.read(i);
    EXPECT_EQ(sample.id, std::to_string(i));
    EXPECT_EQ(sample.images, std::vector<std::string>{"picture " + std::to_string(i)});
    const std::string& text = sample.parts.at(1).text;
    EXPECT_EQ(text.starts_with("图片"), sample.language == Language::chinese) << text;
    const std::string number = text.substr(text.find(' ') + 1);
    const json annotations = json::parse(sample.annotations);
    EXPECT_EQ(annotations.at("tags").at(0), "dog");
    EXPECT_EQ(annotations.value("text_of", sample.id), number);
    moved += number != sample.id;
    texts.insert(text);
  }
  EXPECT_EQ(texts.size(), 400U) << "each text is still there, once";
  EXPECT_EQ(moved, result.mismatched);
  EXPECT_EQ(set.read(400).parts.at(1).text, "Hi.");
  EXPECT_THAT(
      error_of([&] { build_mismatched({.input = options_.input, .output = folder_.file("no.h5"), .share = 2}); }),
      HasSubstr("[0, 1]"));
}

// As LRV's, whose ids are those of the pictures.
TEST_F(Negatives, TranslationsByIdAreForOneSampleEach) {
  DatasetWriter writer(options_.input);
  for (const char* question : {"What is it?", "Is it red?"}) {
    writer.add({.id = "7", .parts = {text_part(question), answer_part("A dog.")}, .language = Language::english});
  }
  writer.close();
  write_file(folder_.file("t.jsonl"), R"({"id": "7", "texts": ["这是什么？", "一只狗。"]})");
  EXPECT_THAT(error_of([&] {
                translate_dataset(options_.input, folder_.file("t.jsonl"), folder_.file("zh.h5"), Language::chinese);
              }),
              HasSubstr("several samples have the id '7'"));
}

}  // namespace
}  // namespace skymm
