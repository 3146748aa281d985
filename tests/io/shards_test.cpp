#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "core/error.hpp"
#include "io/dataset.hpp"
#include "io/dataset_source.hpp"
#include "io/file.hpp"
#include "io/manifest.hpp"
#include "io/sampler.hpp"
#include "io/shard_writer.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

// Samples 2k and 2k + 1 share a picture.
Sample make(int i) {
  Sample s;
  s.id = fmt::format("sample-{}", i);
  s.images = {std::string(static_cast<std::size_t>(1000 + i / 2), static_cast<char>('a' + i / 2 % 26))};
  s.parts = {image_part(0), text_part("图里有熊猫吗？"), answer_part(i % 2 ? "是" : "no")};
  s.language = i % 3 == 0 ? Language::chinese : Language::english;
  s.source = i % 4 ? "canvas" : "stamps";
  return s;
}

class Shards : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string path = folder_.file("dataset.json");

  // A few samples fill a shard.
  void write(int n = 40) const {
    DatasetWriter writer(path, R"({"seed": 7})", 2300);
    for (int i = 0; i < n; ++i) EXPECT_EQ(writer.add(make(i)), i);
    writer.close();
  }
  std::string shard(int i) const { return folder_.file(fmt::format("dataset-{:05}.h5", i)); }
  static void damage(const std::string& file, const std::string& text) {
    std::string bytes = read_file(file);
    const std::size_t at = bytes.find(text);
    ASSERT_NE(at, std::string::npos);
    bytes[at] ^= 0x10;
    std::ofstream(file, std::ios::binary) << bytes;
  }
};

TEST_F(Shards, ReadAsOneSet) {
  write();
  for (const std::string& name : {path, folder_.path()}) {
    const Dataset set(name);
    ASSERT_EQ(set.size(), 40);
    EXPECT_GT(set.shard_count(), 5);
    EXPECT_EQ(set.provenance(), R"({"seed":7})");
    for (int i = 39; i >= 0; --i) {
      const Sample read = set.read(i), made = make(i);
      EXPECT_EQ(read.id, made.id);
      EXPECT_EQ(read.images, made.images);
      EXPECT_EQ(read.parts.size(), 3U);
      EXPECT_EQ(set.language(i), made.language);
      EXPECT_EQ(set.source(i), made.source);
      EXPECT_EQ(set.read_image(set.image_numbers(i).at(0)), made.images[0]);
    }
    EXPECT_EQ(set.source_counts(), (std::map<std::string, std::int64_t>{{"canvas", 30}, {"stamps", 10}}));
    EXPECT_TRUE(set.find_damage().empty());
    EXPECT_THAT(error_of([&] { set.read(40); }), HasSubstr("no sample 40; it holds 40"));
  }
}

TEST_F(Shards, FindSamplesOfALanguage) {
  write();
  const Dataset set(path);
  std::int64_t chinese = 0, english = 0;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    EXPECT_EQ(set.count(Language::chinese, i), chinese);
    std::int64_t& k = make(static_cast<int>(i)).language == Language::chinese ? chinese : english;
    EXPECT_EQ(set.find(set.language(i), k++), i);
  }
  EXPECT_EQ(set.count(Language::none, set.size()), 0);
  EXPECT_THAT(error_of([&] { set.find(Language::chinese, chinese); }), HasSubstr("no sample"));
}

// The order of training follows from the set's samples, not from its files.
TEST_F(Shards, GiveTheOrderOfOneFile) {
  write();
  {
    DatasetWriter writer(folder_.file("one.h5"));
    for (int i = 0; i < 40; ++i) writer.add(make(i));
    writer.close();
  }
  const MixtureOptions options{.seed = 3, .source_weights = {1}, .language_weights = {1, 1, 2}};
  const auto source = [](const std::string& file) {
    return std::make_shared<DatasetSource>(std::make_shared<Dataset>(file), 37);
  };
  const Mixture sharded({source(path)}, options), whole({source(folder_.file("one.h5"))}, options);
  EXPECT_EQ(sharded.size(), 37);
  int chinese = 0;
  for (std::int64_t place = 0; place < 4096; ++place) {
    EXPECT_EQ(sharded.at(place).index, whole.at(place).index);
    chinese += make(static_cast<int>(whole.at(place).index)).language == Language::chinese;
  }
  EXPECT_EQ(chinese, 2130);  // 13 of 37 samples, twice as often: 26 / 50 of 4096
}

TEST_F(Shards, MissingAndTruncatedOnesAreFoundAtOpen) {
  write();
  fs::resize_file(shard(2), fs::file_size(shard(2)) - 1);
  EXPECT_THAT(error_of([&] { Dataset set(path); }), AllOf(HasSubstr("shard dataset-00002.h5"), HasSubstr("truncated")));
  fs::remove(shard(2));
  EXPECT_THAT(error_of([&] { Dataset set(path); }), AllOf(HasSubstr("dataset-00002.h5"), HasSubstr("No such file")));
}

TEST_F(Shards, DamageIsNamedAndTheRestIsRead) {
  write();
  damage(shard(1), "sample-5");
  const Dataset set(path);
  std::vector<std::int64_t> bad;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    try {
      set.read(i);
    } catch (const Error&) {
      bad.push_back(i);
    }
  }
  EXPECT_EQ(bad, std::vector<std::int64_t>{5});
  ASSERT_EQ(set.find_damage().size(), 1U);
  EXPECT_THAT(set.find_damage()[0], AllOf(HasSubstr("dataset-00001.h5"), HasSubstr("sample 1 (bytes")));
  EXPECT_THAT(error_of([&] { set.verify(); }), HasSubstr("dataset-00001.h5"));
}

TEST_F(Shards, OneOfAnotherSetIsRefused) {
  write();
  const std::string bytes = read_file(shard(0));
  ASSERT_EQ(fs::file_size(shard(0)), fs::file_size(shard(1)));
  std::ofstream(shard(1), std::ios::binary) << bytes;
  const Dataset set(path);
  EXPECT_EQ(set.read(0).id, "sample-0");
  for (int again = 0; again < 2; ++again) {
    EXPECT_THAT(error_of([&] { set.read(5); }), HasSubstr("dataset-00001.h5 is not the one that the manifest"));
  }
}

TEST_F(Shards, NothingIsLeftWithoutCloseAndNothingIsReplaced) {
  {
    DatasetWriter writer(path, "{}", 2300);
    for (int i = 0; i < 20; ++i) writer.add(make(i));
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  write();
  EXPECT_THAT(error_of([&] { DatasetWriter writer(path); }), HasSubstr("exists; remove it"));
  EXPECT_EQ(Dataset(path).size(), 40);
}

TEST_F(Shards, DamagedManifestsAreRefused) {
  write();
  const std::string good = read_file(path);
  const auto error = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    write_file(path, text);
    return error_of([&] { Dataset set(path); });
  };
  EXPECT_THAT(error("{", "["), HasSubstr("the manifest is damaged"));
  EXPECT_THAT(error("sharded samples", "picturebook"), HasSubstr("no manifest of a data set"));
  EXPECT_THAT(error("\"version\": 1", "\"version\": 9"), HasSubstr("format version 9"));
  EXPECT_THAT(error("\"file\": \"", "\"file\": \"../"), HasSubstr("no name of a file beside the manifest"));
  EXPECT_THAT(error("\"bytes\": ", "\"bytes\": -"), HasSubstr("dataset-00000.h5: a size is negative"));
  EXPECT_THAT(error("\"samples\": 40", "\"samples\": 41"), HasSubstr("says 41 samples"));
  EXPECT_THAT(error("\"bytes\"", "\"octets\""), HasSubstr("the manifest is damaged"));
}

TEST_F(Shards, ManyThreadsShareFewDescriptors) {
  DatasetWriter writer(path, "{}", 1);  // a shard a sample: more than may be open
  for (int i = 0; i < 40; ++i) writer.add(make(i));
  writer.close();
  const Dataset set(path);
  ASSERT_EQ(set.shard_count(), 40);
  std::vector<int> good(4, 0);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 400; ++i) good[t] += set.read((i * 7) % 40).images == make((i * 7) % 40).images;
      });
    }
  }
  EXPECT_EQ(good, std::vector<int>(4, 400));
}

std::int64_t resident_bytes() {
  std::ifstream statistics("/proc/self/statm");
  std::int64_t all = 0, resident = 0;
  statistics >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// 500 names of one file with 100,000 samples.
TEST_F(Shards, FiftyMillionSamplesTakeLittleMemory) {
  constexpr int shards = 500, each = 100'000;
  Manifest manifest;
  {
    ShardWriter writer(shard(0));
    Sample sample{.parts = {text_part("?"), answer_part("yes")}, .source = "text"};
    for (int i = 0; i < each; ++i) {
      sample.id = std::to_string(i);
      sample.language = i % 5 == 0 ? Language::chinese : Language::english;
      writer.add(sample);
    }
    manifest.shards.assign(shards, writer.close("{}"));
  }
  for (int i = 1; i < shards; ++i) {
    fs::create_hard_link(shard(0), shard(i));
    manifest.shards[static_cast<std::size_t>(i)].file = fs::path(shard(i)).filename();
  }
  write_manifest(path, manifest);

  [[maybe_unused]] const std::int64_t before = resident_bytes();
  const auto set = std::make_shared<Dataset>(path);
  ASSERT_EQ(set->size(), std::int64_t{shards} * each);
  // By language, which needs the most of the index.
  const Mixture mixture({std::make_shared<DatasetSource>(set)}, {.seed = 1, .language_weights = {1, 1, 2}});
  for (std::int64_t place = 0; place < 4000; ++place) {
    const std::int64_t index = mixture.at(place * 12345).index;
    ASSERT_EQ(set->read(index).id, std::to_string(index % each));
  }
#ifndef __SANITIZE_ADDRESS__  // which keeps what was freed
  EXPECT_LT(resident_bytes() - before, 200 << 20);
#endif
}

}  // namespace
}  // namespace skymm
