#include "io/import/import.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.hpp"
#include "io/base64.hpp"
#include "io/dataset.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "io/manifest.hpp"
#include "parallel/communicator.hpp"
#include "support/tar.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using Counts = std::map<std::string, std::int64_t>;

std::string picture(int number) {
  const auto shade = static_cast<std::uint8_t>(number * 37);
  Image image(24, 16, {shade, 100, static_cast<std::uint8_t>(255 - shade)});
  image.at(3, 4)[0] = static_cast<std::uint8_t>(number);
  return number % 2 ? encode_png(image) : encode_jpeg(image);
}

class Import : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder_;
  ImportOptions options;

  Import() { options.out = folder_.file("out"); }
  void put(const std::string& name, const std::string& bytes) const {
    const std::string path = folder_.file(name);
    fs::create_directories(fs::path(path).parent_path());
    write_file(path, bytes);
  }
  ImportResult import(const std::string& format, const std::vector<std::string>& names) {
    options.format = format;
    options.inputs.clear();
    for (const std::string& name : names) options.inputs.push_back(folder_.file(name));
    SingleCommunicator alone;
    return import_dataset(options, alone);
  }
  std::vector<json> rejects() const {
    std::vector<json> lines;
    std::istringstream text(read_file(folder_.file("out/rejects.jsonl")));
    for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
    return lines;
  }
  Dataset set() const { return Dataset(folder_.file("out")); }
};

// "image, text: What?, answer: Nothing." of a sample.
std::string parts_of(const Sample& sample) {
  std::string text;
  for (const Part& part : sample.parts) {
    if (!text.empty()) text += ", ";
    if (part.kind == Part::Kind::image) text += fmt::format("image {}", part.image);
    if (part.kind == Part::Kind::text) text += "text: " + part.text;
    if (part.kind == Part::Kind::answer) text += "answer: " + part.text;
  }
  return text;
}

json turns(const std::vector<std::string>& values) {
  json list = json::array();
  for (std::size_t i = 0; i < values.size(); ++i) {
    list.push_back({{"from", i % 2 ? "gpt" : "human"}, {"value", values[i]}});
  }
  return list;
}

TEST_F(Import, LlavaTakesWhatFitsAndListsTheRest) {
  for (int i = 0; i < 3; ++i) put(fmt::format("pictures/{}.img", i), picture(i));
  put("pictures/torn.jpg", picture(0).substr(0, 200));
  put("pictures/text.png", "hello");
  json all = json::array();
  const auto add = [&](const json& image, const std::vector<std::string>& values) {
    json entry = {{"id", all.size()}, {"conversations", turns(values)}};
    if (!image.is_null()) entry["image"] = image;
    all.push_back(entry);
  };
  add("0.img", {"<image>\nWhat is it?", "A red field. ", "And now?", "Still red."});
  add("1.img", {"这是什么？\n<image>", "一片红色。"});
  add(json::array({"0.img", "2.img"}), {"<image><image>\nWhich is redder?", "The second."});
  add(nullptr, {"Who are you?", "A model."});
  add("0.img", {"What is it?", "No tag."});                                                  // 4: image count
  add(nullptr, {"<image>\nWhat is it?", "No picture."});                                     // 5: image count
  add("none.jpg", {"<image>\nWhat?", "Nothing."});                                           // 6: image missing
  add("torn.jpg", {"<image>\nWhat?", "Nothing."});                                           // 7: image damaged
  add("text.png", {"<image>\nWhat?", "Nothing."});                                           // 8: image damaged
  add("../pictures/0.img", {"<image>\nWhat?", "Nothing."});                                  // 9: image missing
  add("0.img", {"<image>\nWhat?", "  "});                                                    // 10: no answer
  add("0.img", {"<image>\nWhat?"});                                                          // 11: no answer
  add(7, {"What?", "Nothing."});                                                             // 12: malformed
  add("0.img", {"<image>\nWhat?", "See <image>."});                                          // 13: malformed
  all.push_back({{"id", "14"}});                                                             // malformed
  all.push_back(15);                                                                         // malformed
  all.push_back({{"id", 16}, {"conversations", {{{"from", "gpt"}, {"value", "First."}}}}});  // malformed
  put("mix.json", all.dump());
  options.images = folder_.file("pictures");
  options.threads = 3;
  const ImportResult result = import("llava", {"mix.json"});
  EXPECT_EQ(result.samples, 4);
  EXPECT_EQ(
      result.rejects,
      (Counts{{"image count", 2}, {"image damaged", 2}, {"image missing", 2}, {"malformed", 5}, {"no answer", 2}}));
  const Dataset samples = set();
  EXPECT_EQ(parts_of(samples.read(0)),
            "image 0, text: What is it?, answer: A red field., text: And now?, answer: Still red.");
  EXPECT_EQ(parts_of(samples.read(1)), "text: 这是什么？, image 0, answer: 一片红色。");
  EXPECT_EQ(parts_of(samples.read(2)), "image 0, image 1, text: Which is redder?, answer: The second.");
  EXPECT_EQ(parts_of(samples.read(3)), "text: Who are you?, answer: A model.");
  EXPECT_EQ(samples.read(2).images, (std::vector<std::string>{picture(0), picture(2)}));
  EXPECT_EQ(samples.read(1).id, "1");
  EXPECT_EQ(samples.language(0), Language::english);
  EXPECT_EQ(samples.language(1), Language::chinese);
  EXPECT_EQ(samples.source(0), "llava");
  samples.verify();
  const std::vector<json> refused = rejects();
  ASSERT_EQ(refused.size(), 13U);
  EXPECT_EQ(refused[0].at("where"), "entry 4");
  EXPECT_EQ(refused[0].at("reason"), "image count");
  EXPECT_THAT(refused[3].at("detail").get<std::string>(), HasSubstr("is cut or damaged"));
  EXPECT_THAT(refused[5].at("detail").get<std::string>(), HasSubstr("leads out"));
  EXPECT_EQ(refused[12].at("where"), "entry 16");
}

TEST_F(Import, WithoutASampleItFailsWithAReasonAndCanBeTriedAgain) {
  put("pictures/a.png", picture(1));
  put("set.json",
      json::array(
          {{{"id", "1"},
            {"image", "a.png"},
            {"conversations", {{{"from", "human"}, {"value", "<image>\nWhat?"}}, {{"from", "gpt"}, {"value", "A."}}}}}})
          .dump());
  EXPECT_THAT(error_of([&] { import("llava", {"set.json"}); }),
              AllOf(HasSubstr("nothing was imported"), HasSubstr("a.png"), HasSubstr("rejects.jsonl")));
  EXPECT_EQ(rejects().size(), 1U);
  options.images = folder_.file("pictures");
  EXPECT_EQ(import("llava", {"set.json"}).samples, 1);
}

TEST_F(Import, TornJsonKeepsWhatCameBefore) {
  std::string text = "[";
  for (int i = 0; i < 5; ++i) text += json{{"id", i}, {"conversations", turns({"Who?", "I."})}}.dump() + ",";
  put("torn.json", text + R"({"id": 5, "conversa)");
  const ImportResult result = import("llava", {"torn.json"});
  EXPECT_EQ(result.samples, 5);
  EXPECT_EQ(result.rejects, (Counts{{"input damaged", 1}}));
  EXPECT_THAT(rejects()[0].at("detail").get<std::string>(), HasSubstr(fmt::format("byte {}", text.size() + 19)));
  fs::remove_all(options.out);
  put("object.json", "{}");
  EXPECT_THAT(error_of([&] { import("llava", {"object.json"}); }),
              HasSubstr("object.json, at its start: input damaged"));
  EXPECT_THAT(rejects()[0].at("detail").get<std::string>(), HasSubstr("no JSON array"));
}

TEST_F(Import, LrvMarksNegatives) {
  put("2.jpg", picture(2));
  put("lrv.json",
      json::array({{{"image_id", "2"}, {"question", "Is there a dog?"}, {"answer", "No."}, {"task", "negative"}},
                   {{"image_id", 2}, {"question", "Which colour?"}, {"answer", "Red."}, {"task", "attribute"}},
                   {{"image_id", "2"}, {"question", "Why?"}}})
          .dump());
  EXPECT_EQ(import("lrv", {"lrv.json"}).rejects, (Counts{{"malformed", 1}}));
  const Sample negative = set().read(0), positive = set().read(1);
  EXPECT_EQ(parts_of(negative), "image 0, text: Is there a dog?, answer: No.");
  EXPECT_EQ(negative.parts[2].polarity, Polarity::negative);
  EXPECT_EQ(negative.parts[2].task, "negative");
  EXPECT_EQ(positive.parts[2].polarity, Polarity::positive);
  EXPECT_EQ(positive.images[0], picture(2));
}

TEST_F(Import, WebdatasetJoinsMembersOfAKey) {
  testing::write_tar(folder_.file("0.tar"), {{"a/000.jpg", picture(0)},
                                             {"a/000.txt", "A red field.\n"},
                                             {"a/000.json", R"({"width": 24})"},
                                             {"a/001.PNG", picture(1)},
                                             {"a/001.Json", R"({"caption": "一片红色"})"},
                                             {"a/002.txt", "no picture"},
                                             {"a/003.jpg", picture(2)},
                                             {"a/004.jpg", picture(2)},
                                             {"a/004.json", "{"},
                                             {"a/005.jpg", "broken"},
                                             {"a/005.txt", "broken"}});
  testing::write_tar(folder_.file("1.tar"),
                     {{"b.png", picture(3)},
                      {"b.json", json{{"conversations", turns({"<image>\nWhat?", "A field."})}}.dump()},
                      {"c.png", picture(3)},
                      {"c.seg.txt", "an extension of two parts is something else"},
                      {"c.txt", "the second half"}});
  const ImportResult result = import("webdataset", {"0.tar", "1.tar"});
  EXPECT_EQ(result.rejects, (Counts{{"image damaged", 1}, {"image missing", 1}, {"malformed", 1}, {"no answer", 1}}));
  const Dataset samples = set();
  ASSERT_EQ(samples.size(), 4);
  EXPECT_EQ(samples.read(0).id, "a/000");
  EXPECT_EQ(parts_of(samples.read(0)), "image 0, answer: A red field.");
  EXPECT_EQ(samples.read(0).images[0], picture(0));
  EXPECT_EQ(parts_of(samples.read(1)), "image 0, answer: 一片红色");
  EXPECT_EQ(parts_of(samples.read(2)), "image 0, text: What?, answer: A field.");
  EXPECT_EQ(parts_of(samples.read(3)), "image 0, answer: the second half");
}

TEST_F(Import, TruncatedTarKeepsWhatCameBefore) {
  testing::TarMembers members;
  std::uintmax_t torn_at = 0;  // within the picture of key 010
  for (int i = 0; i < 20; ++i) {
    members.emplace_back(fmt::format("{:03}.png", i), picture(i));
    members.emplace_back(fmt::format("{:03}.txt", i), "a field");
    if (i < 10) torn_at += 3 * 512 + (picture(i).size() + 511) / 512 * 512;
  }
  testing::write_tar(folder_.file("0.tar"), members);
  fs::resize_file(folder_.file("0.tar"), torn_at + 512 + 20);
  const ImportResult result = import("webdataset", {"0.tar"});
  EXPECT_EQ(result.samples, 10);
  EXPECT_EQ(result.rejects, (Counts{{"input damaged", 1}}));
  EXPECT_EQ(rejects()[0].at("where"), "key 010");
}

TEST_F(Import, TablesAndLines) {
  put("a.png", picture(1));
  put("b.jpg", picture(2));
  put("pairs.csv", "id,image,caption\n1,a.png,\"A \"\"field\"\",\nred\"\n2,b.jpg,一片\n3,b.jpg\n4,b.jpg,\n");
  EXPECT_EQ(import("csv", {"pairs.csv"}).rejects, (Counts{{"malformed", 1}, {"no answer", 1}}));
  EXPECT_EQ(parts_of(set().read(0)), "image 0, answer: A \"field\",\nred");
  EXPECT_EQ(set().read(1).id, "2");
  EXPECT_EQ(rejects()[0].at("where"), "line 5");
  fs::remove_all(options.out);

  put("urls.tsv", fmt::format("url\tlocal\ttext\nhttp://x\t{}\tA field\n", folder_.file("a.png")));
  EXPECT_THAT(error_of([&] { import("csv", {"urls.tsv"}); }),
              AllOf(HasSubstr("--image-column"), HasSubstr("url, local, text")));
  fs::remove_all(options.out);
  options.columns.image = "local";
  EXPECT_EQ(import("csv", {"urls.tsv"}).samples, 1);
  EXPECT_EQ(set().read(0).images[0], picture(1));
  fs::remove_all(options.out);

  options.columns = {};
  put("lines.jsonl",
      R"({"image": "a.png", "question": "What?", "answer": "A field."})"
      "\n\n"
      R"({"image": "b.jpg", "caption": "Red."})"
      "\nnot json\n[]\n"
      R"({"id": "x", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "I."}]})");
  EXPECT_EQ(import("jsonl", {"lines.jsonl"}).rejects, (Counts{{"malformed", 2}}));
  EXPECT_EQ(parts_of(set().read(0)), "image 0, text: What?, answer: A field.");
  EXPECT_EQ(parts_of(set().read(1)), "image 0, answer: Red.");
  EXPECT_EQ(set().read(1).parts[1].task, "caption");
  EXPECT_EQ(set().read(2).id, "x");
}

// What negatives are made of.
TEST_F(Import, WhatIsKnownOfAPictureIsKept) {
  const json objects = json::array({{{"name", "ball"}, {"color", "red"}, {"x", 1}, {"y", 2}, {"w", 3}, {"h", 4}}});
  const json tags = json::array({"ball", "草地"}), both = {{"objects", objects}, {"tags", tags}};
  const json truth = {{"objects", objects}, {"weather", "fine"}};
  put("a.png", picture(1));
  const auto line = [](json entry) {
    entry.update({{"image", "a.png"}, {"caption", "A ball."}});
    return entry.dump() + "\n";
  };
  put("lines.jsonl", line(both) + line({{"annotations", both}}) +
                         line({{"annotations", truth.dump()}, {"tags", tags}}) +
                         line({{"objects", 7}, {"tags", "ball"}, {"annotations", "not JSON"}}) +
                         json{{"conversations", turns({"Who?", "I."})}, {"tags", tags}}.dump());
  import("jsonl", {"lines.jsonl"});
  const auto known = [&](std::int64_t i) { return json::parse(set().read(i).annotations); };
  EXPECT_EQ(known(0), both);
  EXPECT_EQ(known(1), both);
  EXPECT_EQ(known(2), (json{{"objects", objects}, {"weather", "fine"}, {"tags", tags}}));
  EXPECT_EQ(set().read(3).annotations, "");
  EXPECT_EQ(known(4), json({{"tags", tags}}));
  fs::remove_all(options.out);

  json entry = {{"image", "a.png"}, {"conversations", turns({"<image>\nWhat?", "A ball."})}};
  entry.update(both);
  put("set.json", json::array({entry}).dump());
  import("llava", {"set.json"});
  EXPECT_EQ(known(0), both);
  fs::remove_all(options.out);

  json caption = both;
  caption["caption"] = "A ball.";
  testing::write_tar(folder_.file("0.tar"), {{"a.png", picture(1)},
                                             {"a.json", caption.dump()},
                                             {"b.png", picture(2)},
                                             {"b.txt", "A ball."},
                                             {"b.json", both.dump()},
                                             {"c.png", picture(3)},
                                             {"c.json", entry.dump()}});
  import("webdataset", {"0.tar"});
  ASSERT_EQ(set().size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(known(i), both) << i;
}

TEST_F(Import, EvaluationSets) {
  put("mme/count/1.png", picture(1));
  put("mme/count/1.txt", "Two dogs? Please answer yes or no.\tYes\nThree dogs?\tNo\n");
  put("mme/scene/images/2.jpg", picture(2));
  put("mme/scene/questions_answers_YN/2.txt", "图里是公园吗？\t是\n");
  put("mme/scene/questions_answers_YN/3.txt", "No picture?\tYes\n");
  EXPECT_EQ(import("mme", {"mme"}).rejects, (Counts{{"image missing", 1}}));
  EXPECT_EQ(parts_of(set().read(0)),
            "image 0, text: Two dogs? Please answer yes or no., answer: Yes, text: Three dogs?, answer: No");
  EXPECT_EQ(set().read(0).parts[4].polarity, Polarity::negative);
  EXPECT_EQ(set().read(1).parts[2].task, "scene");
  EXPECT_EQ(set().language(1), Language::chinese);
  fs::remove_all(options.out);

  put("bench.tsv",
      "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tl2-category\n"
      "7\tWhich?\tnan\tred\tblue\tnan\tnan\tB\tcolour\t" +
          encode_base64(picture(1)) +
          "\tFP-S\n"
          "1000007\tWhich?\tnan\tblue\tred\tnan\tnan\tA\tcolour\t7\tFP-S\n"
          "8\tWhich?\tnan\tblue\tred\tnan\tnan\tE\tcolour\t7\tFP-S\n");
  EXPECT_EQ(import("mmbench", {"bench.tsv"}).rejects, (Counts{{"malformed", 1}}));
  EXPECT_EQ(parts_of(set().read(1)),
            "image 0, text: Question: Which?\nOptions:\nA. blue\nB. red\n"
            "Please select the correct answer from the options above. \n, answer: A");
  EXPECT_EQ(set().read(1).images[0], picture(1));
  EXPECT_EQ(set().image_count(), 1);
  fs::remove_all(options.out);

  put("val2014/x.jpg", picture(4));
  put("pope.json", R"({"question_id": 1, "image": "x.jpg", "text": "Is there a cat in the image?", "label": "no"})"
                   "\n");
  options.images = folder_.file("val2014");
  EXPECT_EQ(import("pope", {"pope.json"}).samples, 1);
  EXPECT_EQ(parts_of(set().read(0)), "image 0, text: Is there a cat in the image?, answer: no");
  EXPECT_EQ(set().read(0).parts[2].polarity, Polarity::negative);
}

// Each sample of two sets.
void expect_same(const Dataset& a, const Dataset& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::int64_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a.read(i).id, b.read(i).id);
    EXPECT_EQ(a.read(i).images, b.read(i).images);
    EXPECT_EQ(parts_of(a.read(i)), parts_of(b.read(i)));
  }
}

TEST_F(Import, AKilledOneGoesOn) {
  std::string lines[2];
  for (int i = 0; i < 60; ++i) {
    put(fmt::format("{}.img", i), picture(i));
    lines[i / 40] +=
        json{{"id", std::to_string(i)}, {"image", fmt::format("{}.img", i % 7 == 3 ? 99 : i)}, {"caption", "Red."}}
            .dump() +
        "\n";
  }
  put("a.jsonl", lines[0]);
  put("b.jsonl", lines[1]);
  put("c.jsonl", "\n");
  options.shard_bytes = 2000;
  const ImportResult whole = import("jsonl", {"a.jsonl", "b.jsonl", "c.jsonl"});
  EXPECT_GT(whole.shards, 5);
  const std::string listed = read_file(folder_.file("out/rejects.jsonl"));
  fs::rename(options.out, folder_.file("whole"));

  struct Killed {};
  for (int after = 1; after <= 4; ++after) {  // each attempt goes a shard further
    options.on_progress = [left = after](const ImportProgress&) mutable {
      if (--left == 0) throw Killed{};
    };
    EXPECT_THROW(import("jsonl", {"a.jsonl", "b.jsonl", "c.jsonl"}), Killed);
    EXPECT_FALSE(fs::exists(folder_.file("out/dataset.json")));
  }
  // Not with other options meanwhile.
  options.shard_bytes = 3000;
  EXPECT_THAT(error_of([&] { import("jsonl", {"a.jsonl", "b.jsonl", "c.jsonl"}); }), HasSubstr("was not finished"));
  options.shard_bytes = 2000;
  std::int64_t again = -1;
  options.on_progress = [&](const ImportProgress& progress) { again = progress.samples; };
  const ImportResult result = import("jsonl", {"a.jsonl", "b.jsonl", "c.jsonl"});
  EXPECT_LT(again, whole.samples);  // the finished shards were kept
  EXPECT_EQ(result.samples, whole.samples);
  EXPECT_EQ(result.rejects, whole.rejects);
  EXPECT_EQ(read_file(folder_.file("out/rejects.jsonl")), listed);
  expect_same(set(), Dataset(folder_.file("whole")));
  EXPECT_THAT(error_of([&] { import("jsonl", {"a.jsonl", "b.jsonl", "c.jsonl"}); }), HasSubstr("that is complete"));
}

TEST_F(Import, DuplicatesAreCountedOrDropped) {
  std::string lines;
  for (int i = 0; i < 30; ++i) {
    put(fmt::format("{}.img", i), picture(i % 10));
    lines += json{{"id", std::to_string(i)}, {"image", fmt::format("{}.img", i)}, {"caption", "Red."}}.dump() + "\n";
  }
  lines += json{{"id", "text"}, {"conversations", turns({"Who?", "I."})}}.dump() + "\n";
  put("a.jsonl", lines);
  options.shard_bytes = 1500;
  const ImportResult kept = import("jsonl", {"a.jsonl", "a.jsonl"});
  EXPECT_EQ(kept.samples, 62);
  EXPECT_EQ(kept.duplicates, 50);
  fs::remove_all(options.out);
  options.drop_duplicates = true;
  const ImportResult dropped = import("jsonl", {"a.jsonl", "a.jsonl"});
  EXPECT_EQ(dropped.duplicates, 50);
  EXPECT_EQ(dropped.samples, 12);  // ten pictures, and text twice
  std::vector<std::string> ids;
  for (std::int64_t i = 0; i < set().size(); ++i) ids.push_back(set().read(i).id);
  EXPECT_THAT(ids, ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "text", "text"));
  set().verify();
}

TEST_F(Import, LanguagesByScript) {
  const auto of = [](const std::string& text) {
    Sample sample;
    sample.parts = {answer_part(text)};
    return language_of(sample);
  };
  EXPECT_EQ(of("图里有一只red panda"), Language::chinese);
  EXPECT_EQ(of("The sign says 北京"), Language::english);
  EXPECT_EQ(of("𠮷 12, 34!"), Language::none);
  EXPECT_EQ(of("ひらがな"), Language::none);
  EXPECT_EQ(of(""), Language::none);
}

TEST_F(Import, SaysWhatIsWrongWithTheCall) {
  EXPECT_THAT(error_of([&] { import("llava", {}); }), HasSubstr("no input was given"));
  EXPECT_THAT(error_of([&] { import("lava", {"x"}); }), HasSubstr("'lava' is no format"));
  EXPECT_THAT(error_of([&] { import("llava", {"none.json"}); }), HasSubstr("none.json cannot be read"));
  options.images = folder_.path();
  EXPECT_THAT(error_of([&] { import("webdataset", {"x"}); }), HasSubstr("no folder of them is read"));
  options.images.clear();
  options.columns.caption = "text";
  EXPECT_THAT(error_of([&] { import("llava", {"x"}); }), HasSubstr("columns are for csv and jsonl"));
  options.columns = {};
  put("out2/notes.txt", "x");
  put("empty.json", "[]");
  options.out = folder_.file("out2");
  EXPECT_THAT(error_of([&] { import("llava", {"empty.json"}); }), HasSubstr("is not empty"));
  options.out = folder_.file("out3");
  EXPECT_THAT(error_of([&] { import("llava", {"empty.json"}); }), HasSubstr("the inputs have no entries"));
  EXPECT_FALSE(fs::exists(options.out + "/" + manifest_name));
}

}  // namespace
}  // namespace skymm
