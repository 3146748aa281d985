#include "io/derive/negatives.hpp"

#include <fmt/format.h>
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
using ::testing::AnyOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
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
    SceneReader scene(names);
    scene.add(input.read(i));
    for (const KnownObject& known : scene.facts().objects) found.push_back(known.thing);
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

// COCO has five captions a picture; each names other things of it.
TEST_F(Negatives, AllCaptionsOfAPictureTellWhatIsThere) {
  DatasetWriter writer(options_.input);
  const char* captions[][2] = {{"A cat on a mat.", "A dog beside a cat."},
                               {"A bus.", "There is no tree. A bus, a kite."}};
  for (int i = 0; i < 40; ++i) {
    for (int c = 0; c < 2; ++c) {
      writer.add({.id = fmt::format("{}-{}", i, c),
                  .images = {std::to_string(i)},
                  .parts = {image_part(0), answer_part(captions[i % 2][c])}});
    }
  }
  writer.add({.id = "both",
              .images = {"0", "1"},
              .parts = {image_part(0), image_part(1), text_part("Which shows a horse?"), answer_part("The first.")}});
  writer.add({.id = "other", .images = {"other"}, .parts = {image_part(0), answer_part("A horse and a tree.")}});
  writer.close();
  options_.vocabulary = {{"cat", "猫"},    {"dog", "狗"},   {"mat", "垫子"}, {"bus", "公交车"},
                         {"kite", "风筝"}, {"horse", "马"}, {"tree", "树"}};
  const NegativesResult result = build_negatives(options_);
  EXPECT_EQ(result.pictures, 41);
  const Dataset set(options_.output);
  ASSERT_EQ(set.size(), 82);
  const std::set<std::string> there[] = {{"cat", "dog", "mat"}, {"bus", "kite"}};
  std::int64_t horses = 0, trees = 0;
  for (std::int64_t i = 0; i < 80; i += 2) {
    const Sample sample = set.read(i);
    for (std::size_t p = 2; p < sample.parts.size(); p += 2) {
      const std::string& question = sample.parts[p - 1].text;
      const bool yes = sample.parts[p].polarity == Polarity::positive;
      for (const ObjectName& name : options_.vocabulary) {
        if (question.find(name.english) == std::string::npos) continue;
        EXPECT_EQ(there[i / 2 % 2].contains(name.english), yes) << sample.id << ": " << question;
        horses += name.english == "horse";
        trees += name.english == "tree";
        // Asked about, or said to be missing: neither is it told as there, nor as absent.
        EXPECT_FALSE(name.english == "horse" && i < 4) << sample.id;
        EXPECT_FALSE(name.english == "tree" && i / 2 % 2 == 1) << sample.id;
      }
    }
  }
  EXPECT_GT(horses, 5);
  EXPECT_GT(trees, 2);
}

// What samples of one picture, each of one text, tell: "ball red, dog 2, cat".
std::string told(const std::vector<std::string>& answers, Polarity polarity = Polarity::none,
                 const std::string& question = "") {
  Vocabulary names({{"ball", "球"},
                    {"dog", "狗"},
                    {"hot dog", "热狗"},
                    {"orange", "橙子"},
                    {"man", "男人"},
                    {"puppy", ""},
                    {"teddy bear", "泰迪熊"}});
  SceneReader scene(names);
  for (const std::string& answer : answers) {
    Sample sample{.id = "", .images = {""}, .parts = {image_part(0), answer_part(answer, "caption", polarity)}};
    if (!question.empty()) sample.parts.insert(sample.parts.begin() + 1, text_part(question));
    scene.add(sample);
  }
  std::string text;
  for (const KnownObject& object : scene.facts().objects) {
    text += (text.empty() ? "" : ", ") + names.name(object.thing).english;
    if (!object.colour.empty()) text += " " + object.colour;
    if (object.number > 0) text += fmt::format(" {}", object.number);
  }
  return text;
}

TEST(CaptionFacts, WhatIsDeniedOrInDoubtIsNotThere) {
  EXPECT_EQ(told({"There is no dog."}), "");
  EXPECT_EQ(told({"A ball. There isn't any dog, puppy or man."}), "ball");
  EXPECT_EQ(told({"There isn’t a dog"}), "");
  EXPECT_EQ(told({"A man without a dog", "A ball"}), "ball");
  EXPECT_EQ(told({"There may be a dog.", "It looks like a ball", "a dog or a man"}), "");
  EXPECT_EQ(told({"图片里没有狗。", "有一个球。"}), "ball");
  EXPECT_EQ(told({"A dog."}, Polarity::negative), "");
  EXPECT_EQ(told({"No.", "The dog."}, Polarity::positive), "dog");
}

TEST(CaptionFacts, NamesAreFoundInTheirForms) {
  EXPECT_EQ(told({"PUPPIES and men, a dog's ball"}), "ball, dog, man, puppy");
  EXPECT_EQ(told({"A hot dog and two Teddy Bears"}), "hot dog, teddy bear 2");
  EXPECT_EQ(told({"一个热狗"}), "hot dog");
  EXPECT_EQ(told({"hotdogs, footballs and dogma"}), "");
  EXPECT_EQ(told({"An orange ball"}), "ball orange");
  EXPECT_EQ(told({"An orange on a table"}), "orange");
}

TEST(CaptionFacts, ColoursAreTakenFromPlainPhrases) {
  for (const char* plain : {"a red ball", "A photo of a red ball on grass.", "a man and a red ball, a dog",
                            "There is a red ball. The ball is on grass.", "一个红色的球", "草地上有一个红色球。"}) {
    EXPECT_THAT(told({plain}), HasSubstr("ball red")) << plain;
  }
  EXPECT_EQ(told({"a red ball", "a ball in the grass", "the ball is round"}), "ball red");
  for (const char* unclear : {"a red and white ball",
                              "a red ball and a blue ball",
                              "a red ball and a ball",
                              "red balls",
                              "a big red ball",
                              "a red ball game",
                              "a man's red ball",
                              "not a blue but a red ball",
                              "a red ball, another ball",
                              "the red ball",
                              "a red ball near some balls",
                              "a half red ball",
                              "a dark red ball",
                              "一个粉红色的球",
                              "一个红色的球场",
                              "两个红色的球",
                              "一个红色的球和一个蓝色的球",
                              "这个红色的球",
                              "另一个红色的球",
                              "第一个红色的球"}) {
    EXPECT_THAT(told({unclear}), Not(AnyOf(HasSubstr("red"), HasSubstr("blue"), HasSubstr("white")))) << unclear;
  }
  EXPECT_EQ(told({"a red ball", "a blue ball"}), "ball");
  EXPECT_EQ(told({"a red ball", "一个蓝色的球"}), "ball");
  EXPECT_EQ(told({"a red ball"}, Polarity::none, "What lies on the left?"), "ball");
  EXPECT_EQ(told({"a red ball"}, Polarity::none, "Describe the picture."), "ball red");
}

TEST(CaptionFacts, NumbersAreTakenFromPlainPhrases) {
  for (const char* plain : {"two dogs", "Two dogs on a couch.", "A man with 2 dogs", "a picture of two dogs",
                            "There are two dogs. Both dogs are asleep.", "两只狗", "草地上有两只狗在跑"}) {
    EXPECT_THAT(told({plain}), HasSubstr("dog 2")) << plain;
  }
  EXPECT_EQ(told({"three men", "the men are old"}), "man 3");
  EXPECT_EQ(told({"two dogs", "两只狗。"}), "dog 2");
  for (const char* unclear : {"two dogs and three dogs",
                              "two dogs on the left and two dogs on the right",
                              "two dogs and a dog",
                              "at least two dogs",
                              "one or two dogs",
                              "two dogs, another dog",
                              "two of three dogs",
                              "two dogs in each boat",
                              "twenty two dogs",
                              "two dog houses",
                              "two dogs watch more dogs",
                              "two dogs and some dogs",
                              "a dog",
                              "dogs",
                              "一只狗",
                              "十二只狗",
                              "第二只狗",
                              "至少有两只狗",
                              "两只狗和三只狗",
                              "两只狗屋",
                              "每人有两只狗",
                              "两三只狗"}) {
    EXPECT_EQ(told({unclear}).find_first_of("0123456789"), std::string::npos) << unclear << ": " << told({unclear});
  }
  EXPECT_EQ(told({"two dogs", "three dogs"}), "dog");
  EXPECT_EQ(told({"two dogs", "a dog"}), "dog");
  EXPECT_EQ(told({"two dogs"}, Polarity::none, "How many dogs are on the left?"), "dog");
}

// Answers made of captions with several colours and numbers.
TEST_F(Negatives, CaptionsGiveTrueAnswersAboutColoursAndNumbers) {
  const std::string caption = "A red ball beside a blue kite, two dogs and a white and black cat.";
  DatasetWriter writer(options_.input);
  for (int i = 0; i < 60; ++i) {
    writer.add(
        {.id = std::to_string(i), .images = {std::to_string(i)}, .parts = {image_part(0), answer_part(caption)}});
  }
  writer.add({.id = "other", .images = {"other"}, .parts = {image_part(0), answer_part("A bus.")}});
  writer.close();
  options_.vocabulary = {{"ball", "球"}, {"kite", "风筝"}, {"dog", "狗"}, {"cat", "猫"}, {"bus", "公交车"}};
  NegativesResult result = build_negatives(options_);
  EXPECT_GT(result.turns["attribute negative"], 10);
  EXPECT_EQ(result.turns["attribute negative"], result.turns["attribute positive"]);
  EXPECT_GT(result.turns["count negative"], 10);
  EXPECT_EQ(result.turns["count negative"], result.turns["count positive"]);
  const Dataset set(options_.output);
  for (std::int64_t i = 0; i < set.size(); i += 2) {
    const Sample sample = set.read(i);
    for (std::size_t p = 2; p < sample.parts.size(); p += 2) {
      const std::string& question = sample.parts[p - 1].text;
      const Part& answer = sample.parts[p];
      const auto names = [&](const char* word) { return question.find(word) != std::string::npos; };
      const bool yes = answer.polarity == Polarity::positive;
      if (answer.task == "attribute") {
        EXPECT_TRUE(names("ball") || names("kite")) << question;
        EXPECT_EQ(names("ball") ? names(" red") : names(" blue"), yes) << question;
        if (!yes) {
          for (const char* named : {" red", " blue", " white", " black"}) EXPECT_FALSE(names(named)) << question;
        }
      } else if (answer.task == "count") {
        EXPECT_TRUE(names("dog")) << question;
        EXPECT_EQ(names("two"), yes) << question;
      }
    }
  }
}

// Records that list a thing each: none of them lists all.
TEST_F(Negatives, ListsThatDifferAreNotComplete) {
  Vocabulary names(std::vector<ObjectName>{{"dog", "狗"}});
  SceneReader scene(names);
  const auto add = [&](const json& annotations) {
    scene.add({.id = "", .images = {""}, .parts = {}, .annotations = annotations.dump()});
  };
  add({{"objects", {object("ball", "球", "red", 0, 0)}}});
  add({{"objects", {object("ball", "球", "red", 0, 0)}}});
  EXPECT_TRUE(scene.facts().complete);
  ASSERT_EQ(scene.facts().objects.size(), 1U);
  EXPECT_EQ(scene.facts().objects[0].colour, "red");
  add({{"objects", {object("kite", "风筝", "", 9, 9)}}});
  add({{"tags", {"Dog", "树", "狗"}}});
  const SceneFacts facts = scene.facts();
  EXPECT_FALSE(facts.complete);
  std::set<std::string> there;
  for (const KnownObject& known : facts.objects)
    there.insert(names.name(known.thing).english + names.name(known.thing).chinese);
  EXPECT_EQ(there, (std::set<std::string>{"ball球", "dog狗", "kite风筝", "树"}));
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
