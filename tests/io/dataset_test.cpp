#include "io/dataset.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/error.hpp"
#include "io/crc32c.hpp"
#include "io/file.hpp"
#include "io/hdf5.hpp"
#include "support/mutations.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct DatasetTest : ::testing::Test {
  fs::path folder = fs::temp_directory_path() / fmt::format("skymm_dataset_{}", ::getpid());
  std::string path = (folder / "set.h5").string();
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }

  static Sample make(int i) {
    Sample s;
    s.id = fmt::format("sample-{}", i);
    s.images = {std::string(static_cast<std::size_t>(100 + i / 2), static_cast<char>('a' + i / 2))};  // pairs share
    s.parts = {image_part(0), text_part("图里有熊猫吗？请回答是或否。"),
               answer_part("是", "existence", Polarity::positive), text_part("Is there a \"dog\"?\n"),
               answer_part("no", "existence", Polarity::negative)};
    s.language = i % 2 ? Language::chinese : Language::english;
    s.source = i % 3 ? "canvas" : "stamps";
    s.annotations = i % 2 ? "" : R"({"objects":[]})";
    return s;
  }
  void write(int n) const {
    DatasetWriter writer(path, R"({"seed": 7})");
    for (int i = 0; i < n; ++i) EXPECT_EQ(writer.add(make(i)), i);
    writer.close();
  }
  template <class Call>
  static std::string message_of(Call&& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  }
  void flip_byte(std::int64_t at) const {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char c = static_cast<char>(file.get() ^ 0x10);
    file.seekp(at);
    file.put(c);
  }
  std::int64_t find(const std::string& text) const {
    std::ifstream file(path, std::ios::binary);
    const std::string all(std::istreambuf_iterator<char>(file), {});
    return static_cast<std::int64_t>(all.find(text));
  }
};

void expect_equal(const Sample& a, const Sample& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.images, b.images);
  EXPECT_EQ(a.language, b.language);
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.annotations, b.annotations);
  ASSERT_EQ(a.parts.size(), b.parts.size());
  for (std::size_t i = 0; i < a.parts.size(); ++i) {
    EXPECT_EQ(a.parts[i].kind, b.parts[i].kind);
    EXPECT_EQ(a.parts[i].text, b.parts[i].text);
    EXPECT_EQ(a.parts[i].image, b.parts[i].image);
    EXPECT_EQ(a.parts[i].polarity, b.parts[i].polarity);
    EXPECT_EQ(a.parts[i].task, b.parts[i].task);
  }
}

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);            // RFC 3720's check value
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c("6789", crc32c("12345")), 0xE3069283u);
}

TEST_F(DatasetTest, RoundTrip) {
  write(11);
  const Dataset set(path);
  ASSERT_EQ(set.size(), 11);
  EXPECT_EQ(set.provenance(), R"({"seed":7})");
  EXPECT_EQ(set.image_count(), 6);  // each picture once
  for (int i = 0; i < 11; ++i) {
    expect_equal(set.read(i), make(i));
    EXPECT_EQ(set.info(i).images, 1);
    EXPECT_EQ(set.language(i), make(i).language);
    EXPECT_EQ(set.source(i), make(i).source);
    EXPECT_EQ(set.image_numbers(i), std::vector<std::int64_t>{i / 2});
  }
  EXPECT_EQ(set.read(3, false).images, std::vector<std::string>{""});
  set.verify();
  EXPECT_FALSE(fs::exists(path + ".tmp"));
  EXPECT_THAT(message_of([&] { set.read(11); }), HasSubstr("no sample 11; it holds 11"));
}

TEST_F(DatasetTest, EmptySetAndSamplesWithoutPictures) {
  write(0);
  EXPECT_EQ(Dataset(path).size(), 0);
  Sample text = make(0);
  text.images.clear();
  text.parts.erase(text.parts.begin());
  DatasetWriter writer(path);
  writer.add(text);
  writer.close();
  const Dataset set(path);
  expect_equal(set.read(0), text);
  set.verify();
}

TEST_F(DatasetTest, ManySegments) {
  const auto picture = [](int i) { return std::string(std::size_t{30} << 20, static_cast<char>(i + 1)); };
  DatasetWriter writer(path);
  for (int i = 0; i < 5; ++i) {
    Sample s = make(i);
    s.images = {picture(i), "small"};
    writer.add(s);
  }
  writer.close();
  const Dataset set(path);
  EXPECT_EQ(set.image_count(), 6);
  for (int i : {4, 0, 2}) EXPECT_TRUE(set.read(i).images[0] == picture(i));
  EXPECT_EQ(set.read(4).images[1], "small");
}

TEST_F(DatasetTest, ReadsFromManyThreads) {
  write(40);
  const Dataset set(path);
  std::vector<std::thread> threads;
  std::vector<int> good(4, 0);
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 400; ++i) good[t] += set.read((i * 7) % 40).id == fmt::format("sample-{}", (i * 7) % 40);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, std::vector<int>(4, 400));
}

TEST_F(DatasetTest, NothingIsLeftWithoutClose) {
  {
    DatasetWriter writer(path);
    writer.add(make(0));
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(DatasetTest, FullDiskIsAnErrorAndLeavesTheOldFile) {
  write(2);
  // A limit on file size stands in for a full disk: the same failing write, without filling one.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{1 << 16, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of([&] {
    DatasetWriter writer(path);
    Sample big = make(0);
    big.images[0].assign(1 << 20, 'x');
    writer.add(big);
    writer.close();
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_THAT(message, HasSubstr("writing data set " + path));
  EXPECT_THAT(message, HasSubstr("free some space"));
  EXPECT_EQ(Dataset(path).size(), 2);
  EXPECT_FALSE(fs::exists(path + ".tmp"));
}

TEST_F(DatasetTest, TruncatedAndForeignFilesAreNamed) {
  write(20);
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_THAT(message_of([&] { Dataset set(path); }), AllOf(HasSubstr(path), HasSubstr("truncated")));
  std::ofstream(path) << "hello";
  EXPECT_THAT(message_of([&] { Dataset set(path); }), AllOf(HasSubstr(path), HasSubstr("not an HDF5 file")));
  EXPECT_THAT(message_of([&] { Dataset set((folder / "none.h5").string()); }), HasSubstr("No such file"));
  {
    const std::scoped_lock lock(hdf5_mutex());
    Hdf5Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "make");
  }
  EXPECT_THAT(message_of([&] { Dataset set(path); }), HasSubstr("holds no skymm samples"));
}

TEST_F(DatasetTest, DamageIsNamed) {
  write(10);
  const std::int64_t picture = find(make(6).images[0]);
  flip_byte(picture + 5);
  const Dataset set(path);
  set.read(5);
  const std::string expected = fmt::format("picture 3 (bytes {} to {} of the file) is damaged", picture, picture + 103);
  EXPECT_THAT(message_of([&] { set.verify(); }), HasSubstr(expected));
  EXPECT_THAT(message_of([&] { set.read(6); }), HasSubstr(expected));
  flip_byte(picture + 5);
  set.verify();
  flip_byte(find("\"sample-8\""));
  EXPECT_THAT(message_of([&] { set.verify(); }), HasSubstr("sample 8 (bytes"));
}

TEST_F(DatasetTest, DamagedHeaderAndIndexAreFound) {
  write(4);
  const std::int64_t header = find("\"skymm samples\"");
  flip_byte(header);
  EXPECT_THAT(message_of([&] { Dataset set(path); }), HasSubstr("header"));
  flip_byte(header);
  // Languages of the four samples: one byte each, alternating.
  flip_byte(find(std::string("\1\2\1\2", 4)));
  EXPECT_THAT(message_of([&] { Dataset set(path); }), HasSubstr("index is damaged"));
}

TEST_F(DatasetTest, DamagedFilesAreReadOrRefused) {
  write(6);
  testing::expect_read_or_refused(read_file(path), path, 1000, [&] {
    const Dataset set(path);
    for (std::int64_t i = 0; i < set.size(); ++i) set.read(i);
  });
}

// Structures that take libhdf5 down, or make it ask for more memory than there is.
TEST_F(DatasetTest, ForgedStructuresAreRefused) {
  write(6);
  const std::string good = read_file(path);
  const auto error = [&](std::string_view mark, std::size_t at, std::uint64_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + bytes.find(mark) + at, &value, sizeof value);
    testing::write_anew(path, bytes);
    return message_of([&] { Dataset set(path); });
  };
  const std::uint64_t tree = good.find("TREE");
  EXPECT_THAT(error("HEAP", 8, 0x146d679c58), AllOf(HasSubstr(path), HasSubstr("truncated or damaged")));
  EXPECT_THAT(error("HEAP", 24, ~std::uint64_t{0} - 5), HasSubstr("truncated or damaged"));
  EXPECT_THAT(error("TREE", 32, tree), HasSubstr(fmt::format("structure is damaged at byte {}", tree)));
  EXPECT_THAT(error("\x89HDF", 40, good.size() + 1), HasSubstr("truncated"));
  EXPECT_THAT(error("\x89HDF", 64, 3), HasSubstr("structure is damaged"));
}

TEST_F(DatasetTest, FirstVersionIsStillRead) {
  const Dataset set(SKYMM_SOURCE_DIR "/tests/golden/dataset_version1.h5");
  ASSERT_EQ(set.size(), 6);
  EXPECT_EQ(set.image_count(), 3);
  EXPECT_EQ(set.read(3).images[0], std::string(101, 'b'));
  EXPECT_EQ(set.count(Language::chinese, 6), 3);
  set.verify();
}

TEST_F(DatasetTest, FailedRenameGivesTheSystemsReason) {
  fs::create_directories(path);  // a folder of that name: a file cannot take its place
  errno = 0;
  const std::string message = message_of([&] { write(1); });
  EXPECT_THAT(message, AllOf(HasSubstr("writing data set " + path), HasSubstr("Is a directory")));
}

TEST_F(DatasetTest, BadSamplesAreRefused) {
  DatasetWriter writer(path);
  Sample s = make(0);
  s.parts[0].image = 1;
  EXPECT_THAT(message_of([&] { writer.add(s); }), HasSubstr("names picture 1"));
  s = make(0);
  s.parts[1].text = "\xff";
  EXPECT_THAT(message_of([&] { writer.add(s); }), HasSubstr("sample-0: its text is not valid UTF-8"));
  EXPECT_EQ(writer.size(), 0);
  EXPECT_THAT(message_of([&] { DatasetWriter bad(path, "{"); }), HasSubstr("provenance is not JSON"));
}

}  // namespace
}  // namespace skymm
