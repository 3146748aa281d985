// Damaged inputs: whatever bytes come in, an entry becomes a sample that reads back whole, or a reject with a reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/dataset_format.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "io/import/prepare.hpp"
#include "io/loader.hpp"
#include "io/utf8.hpp"
#include "support/tar.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr int mutants = 1000;  // of each kind

// One to four changes: a byte, a run of bytes that goes, comes twice or becomes noise, or a torn end.
std::string mutate(std::string bytes, RandomStream& random) {
  const auto below = [&](std::size_t n) {
    return static_cast<std::size_t>(random.below(static_cast<std::uint32_t>(n)));
  };
  for (std::size_t change = 0, changes = 1 + below(4); change < changes && !bytes.empty(); ++change) {
    const std::size_t at = below(bytes.size()), length = 1 + below(std::min<std::size_t>(bytes.size() - at, 64));
    switch (below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 4:
        for (std::size_t i = 0; i < length; ++i) bytes[at + i] = static_cast<char>(below(256));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

Image ramp(int number) {
  Image image(33, 21);
  for (std::size_t i = 0; i < image.rgb.size(); ++i)
    image.rgb[i] = static_cast<std::uint8_t>(i * 7 + i / 99 * 31 + static_cast<std::size_t>(number));
  return image;
}

struct Outcome {
  std::int64_t samples = 0, rejects = 0;
};

// Prepares each record as an import does, and holds it to what a sample or a reject must be.
class Judge final : public RecordSink {
 public:
  explicit Judge(const PrepareOptions& options) : options_(options) {}
  bool wants() override { return true; }
  void at(std::int64_t) override {}
  bool put(Record&& record) override {
    prepare(record, options_);
    EXPECT_NE(record.where, "");
    if (record.reject != Reject::none) {
      EXPECT_NE(record.detail, "");
      ++outcome.rejects;
      return true;
    }
    ++outcome.samples;
    const Sample& sample = record.sample;
    for (const std::string& image : sample.images) EXPECT_GT(decode_image(image).width, 0);
    EXPECT_EQ(sample.parts.back().kind, Part::Kind::answer);
    for (const Part& part : sample.parts) {
      EXPECT_TRUE(is_utf8(part.text));
      EXPECT_TRUE(part.kind != Part::Kind::answer || !is_blank(part.text));
      EXPECT_LT(part.image, static_cast<int>(sample.images.size()));
    }
    EXPECT_NO_THROW(encode_conversation(sample));
    return true;
  }

  Outcome outcome;

 private:
  const PrepareOptions options_;
};

void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

class Hostile : public ::testing::Test {
 protected:
  testing::TemporaryFolder folder_;

  void judge(InputReader read, const std::string& bytes, Outcome& sum) const {
    const std::string path = folder_.file("input");
    put(path, bytes);
    Judge sink({.images = folder_.path(), .check = PictureCheck::decode});
    read(path, {}, sink);
    sum.samples += sink.outcome.samples;
    sum.rejects += sink.outcome.rejects;
  }
};

TEST_F(Hostile, Pictures) {
  RandomStream random(11);
  std::string lines;
  for (int i = 0; i < mutants; ++i) {
    const std::string name = std::to_string(i);
    put(folder_.file(name), mutate(i % 2 ? encode_png(ramp(i)) : encode_jpeg(ramp(i)), random));
    lines += json{{"image", name}, {"caption", "A ramp."}}.dump() + "\n";
  }
  Outcome outcome;
  judge(read_jsonl, lines, outcome);
  EXPECT_EQ(outcome.samples + outcome.rejects, mutants);
  EXPECT_GT(outcome.rejects, mutants / 2);
  EXPECT_GT(outcome.samples, 0);  // bits that change a colour
}

class Kept final : public SampleSource {
 public:
  std::vector<Sample> samples;
  std::int64_t size() const override { return std::ssize(samples); }
  Sample read(std::int64_t index) const override { return samples[static_cast<std::size_t>(index)]; }
};

// An import that only scans lets damage within the pixels pass: the loader decodes all of it, and leaves out and counts
// what it cannot.
TEST_F(Hostile, PicturesThatAScanLetsPassAreNotTrainedOn) {
  RandomStream random(15);
  const auto kept = std::make_shared<Kept>();
  std::int64_t whole = 0;
  for (int i = 0; i < mutants; ++i) {
    Record record{.sample = {.images = {mutate(i % 2 ? encode_png(ramp(i)) : encode_jpeg(ramp(i)), random)}}};
    record.sample.parts = {image_part(0), answer_part("A ramp.")};
    prepare(record, {});
    if (record.reject != Reject::none) continue;
    kept->samples.push_back(record.sample);
    try {
      decode_image(kept->samples.back().images[0]);
      ++whole;
    } catch (const Error&) {
    }
  }
  const std::shared_ptr<const Tokenizer> tokenizer(&testing::nano_tokenizer(), [](const Tokenizer*) {});
  Loader loader(std::make_shared<Mixture>(std::vector<std::shared_ptr<const SampleSource>>{kept}, MixtureOptions{}),
                PromptBuilder(tokenizer, chat_template("nano"), {.visual_tokens = 1}), ImageSpec{.size = 8},
                {.global_batch = kept->size(), .micro_batch = 16, .wrap = false, .max_bad_share = 1});
  ::testing::internal::CaptureStderr();
  const BatchCounts counts = loader.next().counts;
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(counts.samples, whole);
  EXPECT_EQ(counts.skipped[static_cast<std::size_t>(Skip::bad_image)], kept->size() - whole);
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), kept->size() - whole);
  EXPECT_GT(whole, 0);
  EXPECT_GT(kept->size(), whole);
  EXPECT_LT(kept->size(), mutants);
}

TEST_F(Hostile, Tars) {
  testing::TarMembers members;
  for (int i = 0; i < 4; ++i) {
    members.emplace_back(fmt::format("{}.png", i), encode_png(ramp(i)));
    members.emplace_back(fmt::format("{}.txt", i), "A ramp.");
    members.emplace_back(fmt::format("{}.json", i), R"({"width": 33})");
  }
  testing::write_tar(folder_.file("good.tar"), members);
  const std::string good = read_file(folder_.file("good.tar"));
  RandomStream random(12);
  Outcome outcome;
  for (int i = 0; i < mutants; ++i) judge(read_webdataset, mutate(good, random), outcome);
  EXPECT_GT(outcome.samples, mutants);
  EXPECT_GT(outcome.rejects, mutants / 4);
  EXPECT_LE(outcome.samples, 4 * mutants + mutants / 10);  // a doubled run of bytes is hardly ever a member
}

TEST_F(Hostile, Json) {
  write_file(folder_.file("a.png"), encode_png(ramp(1)));
  json all = json::array();
  for (int i = 0; i < 4; ++i) {
    all.push_back(
        {{"id", i},
         {"image", "a.png"},
         {"conversations",
          {{{"from", "human"}, {"value", "<image>\nWhat is 图?"}}, {{"from", "gpt"}, {"value", "A ramp."}}}}});
  }
  const std::string array = all.dump(1);
  std::string lines;
  for (const json& entry : all) lines += entry.dump() + "\n";
  RandomStream random(13);
  Outcome from_arrays, from_lines;
  for (int i = 0; i < mutants; ++i) {
    judge(read_llava, mutate(array, random), from_arrays);
    judge(read_jsonl, mutate(lines, random), from_lines);
  }
  EXPECT_GT(from_arrays.samples, mutants / 2);
  EXPECT_GT(from_arrays.rejects, mutants / 4);
  EXPECT_GT(from_lines.samples, mutants);
  EXPECT_GT(from_lines.rejects, mutants / 4);
}

TEST_F(Hostile, Tables) {
  write_file(folder_.file("a.png"), encode_png(ramp(1)));
  std::string good = "id,image,caption\n";
  for (int i = 0; i < 4; ++i) good += fmt::format("{},a.png,\"A \"\"ramp\"\", 图\"\n", i);
  RandomStream random(14);
  Outcome outcome;
  for (int i = 0; i < mutants; ++i) {
    const std::string bytes = mutate(good, random);
    if (bytes.starts_with("id,image,caption\n")) judge(read_csv, bytes, outcome);  // else it is no table
  }
  EXPECT_GT(outcome.samples, mutants);
  EXPECT_GT(outcome.rejects, mutants / 10);
}

TEST_F(Hostile, DeepAndEndlessJson) {
  const auto rejects = [&](InputReader read, const std::string& bytes) {
    Outcome outcome;
    judge(read, bytes, outcome);
    EXPECT_EQ(outcome.samples, 0);
    return outcome.rejects;
  };
  const std::string open(200'000, '['), close(200'000, ']');
  EXPECT_EQ(rejects(read_llava, open), 1);
  EXPECT_EQ(rejects(read_llava, "[" + open + close + "]"), 1);
  EXPECT_EQ(rejects(read_jsonl, open + close + "\n{\"a\":" + open), 2);
  EXPECT_EQ(rejects(read_llava, "[\"" + std::string(std::size_t{65} << 20, 'x') + "\"]"), 1);
}

}  // namespace
}  // namespace skymm
