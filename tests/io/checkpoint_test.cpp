#include "io/checkpoint.hpp"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryFolder;

Checkpoint some_checkpoint(std::int64_t step = 7, int elements = 1000) {
  Checkpoint out{.step = step,
                 .seed = 0xFFFFFFFFFFFFFFFF,
                 .position = (std::int64_t{1} << 40) + step,
                 .frozen = {{"llm", 0x123456789ABCDEF0}, {"vit", 1}},
                 .config = "[model]\nname = nano\n# 熊猫\n",
                 .code_version = "1.0-3-gabc",
                 .metrics = R"({"loss": 1.5})"};
  RandomStream random(static_cast<std::uint64_t>(step));
  const auto values = [&](std::int64_t n) {
    std::vector<float> out_values(static_cast<std::size_t>(n));
    for (float& value : out_values) value = random.normal();
    return out_values;
  };
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
           {"resampler.queries", {4, elements}}, {"llm.layers.0.q_proj.lora_A.weight", {2, 3}}, {"scale", {}}}) {
    out.tensors.push_back({name, shape, values(shape.numel()), values(shape.numel()), values(shape.numel())});
  }
  out.tensors.push_back({"weights.only", {5}, values(5), {}, {}});
  return out;
}

void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.position, b.position);
  EXPECT_EQ(a.frozen, b.frozen);
  EXPECT_EQ(a.config, b.config);
  EXPECT_EQ(a.code_version, b.code_version);
  EXPECT_EQ(a.metrics, b.metrics);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    EXPECT_EQ(a.tensors[i].name, b.tensors[i].name);
    EXPECT_EQ(a.tensors[i].shape, b.tensors[i].shape);
    EXPECT_EQ(a.tensors[i].value, b.tensors[i].value);
    EXPECT_EQ(a.tensors[i].m, b.tensors[i].m);
    EXPECT_EQ(a.tensors[i].v, b.tensors[i].v);
  }
}

std::vector<ExpectedTensor> model_of(const Checkpoint& checkpoint) {
  std::vector<ExpectedTensor> expected;
  for (const CheckpointTensor& tensor : checkpoint.tensors) expected.push_back({tensor.name, tensor.shape});
  return expected;
}

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(Checkpoint, RoundTripsBitByBit) {
  const TemporaryFolder folder;
  const std::string path = checkpoint_path(folder.path(), 7);
  EXPECT_EQ(path, folder.file("step_00000007.h5"));
  save_checkpoint(path, some_checkpoint());
  expect_equal(load_checkpoint(path), some_checkpoint());
  const std::string bytes = read_file(path);
  save_checkpoint(path, some_checkpoint(8));  // over itself
  EXPECT_EQ(load_checkpoint(path).step, 8);
  EXPECT_EQ(files_in(folder.path()).size(), 1u);
}

TEST(Checkpoint, EmptyOnesAreValid) {
  const TemporaryFolder folder;
  save_checkpoint(folder.file("c.h5"), {});
  EXPECT_TRUE(load_checkpoint(folder.file("c.h5")).tensors.empty());
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("c.h5");
  save_checkpoint(path, some_checkpoint(7, 10));
  const std::string whole = read_file(path);
  for (std::size_t n = 0; n < whole.size(); n += 97) {
    write_file(path, std::string_view(whole).substr(0, n));
    EXPECT_THAT(error_of([&] { load_checkpoint(path); }), HasSubstr(path)) << n;
  }
}

TEST(Checkpoint, DamagedValuesAndHeadersAreFound) {
  const TemporaryFolder folder;
  const std::string path = folder.file("c.h5");
  const Checkpoint checkpoint = some_checkpoint();
  save_checkpoint(path, checkpoint);
  const std::string whole = read_file(path);
  const auto with_flip_at = [&](std::size_t at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    write_file(path, bytes);
    return error_of([&] { load_checkpoint(path); });
  };
  const auto& m = checkpoint.tensors[0].m;
  const std::size_t of_m = whole.find(std::string(reinterpret_cast<const char*>(m.data()), 64));
  ASSERT_NE(of_m, std::string::npos);
  EXPECT_THAT(with_flip_at(of_m + 33), AllOf(HasSubstr("damaged"), HasSubstr("resampler.queries/m")));
  EXPECT_THAT(with_flip_at(whole.find("[model]")), AllOf(HasSubstr("damaged"), HasSubstr("header")));
}

TEST(Checkpoint, OtherFilesAreRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { load_checkpoint(folder.file("none.h5")); }), HasSubstr("No such file"));
  write_file(folder.file("text.h5"), std::string(5000, 'x'));
  EXPECT_THAT(error_of([&] { load_checkpoint(folder.file("text.h5")); }), HasSubstr("is not a checkpoint"));
}

TEST(Checkpoint, AnotherModelsIsRefusedWithAllDifferences) {
  const Checkpoint checkpoint = some_checkpoint();
  auto expected = model_of(checkpoint);
  check_checkpoint(checkpoint, "c.h5", expected, checkpoint.frozen);
  expected[0].shape = {4, 999};
  expected[1].name = "llm.layers.0.q_proj.lora_B.weight";
  const std::string message = error_of([&] {
    check_checkpoint(checkpoint, "c.h5", expected, {{"llm", 2}, {"vit", 1}});
  });
  EXPECT_THAT(message, HasSubstr("c.h5 belongs to another model"));
  EXPECT_THAT(message, HasSubstr("missing: llm.layers.0.q_proj.lora_B.weight [2, 3]"));
  EXPECT_THAT(message, HasSubstr("unexpected: llm.layers.0.q_proj.lora_A.weight [2, 3]"));
  EXPECT_THAT(message, HasSubstr("of another shape: resampler.queries [4, 1000], expected [4, 999]"));
  EXPECT_THAT(message, HasSubstr("other frozen weights: llm (123456789abcdef0, expected 0000000000000002)"));
  EXPECT_THAT(message, Not(HasSubstr("vit")));
  EXPECT_THAT(error_of([&] {
                check_checkpoint(checkpoint, "c", model_of(checkpoint), {{"llm", 0x123456789ABCDEF0}});
              }),
              HasSubstr("vit (this model has none)"));
}

TEST(Checkpoint, NewestSkipsWhatIsDamaged) {
  const TemporaryFolder folder;
  EXPECT_FALSE(newest_checkpoint(folder.file("absent")));
  EXPECT_FALSE(newest_checkpoint(folder.path()));
  for (const std::int64_t step : {9, 10, 200})
    save_checkpoint(checkpoint_path(folder.path(), step), some_checkpoint(step));
  write_file(folder.file("step_9999.h5.tmp"), "interrupted");
  write_file(folder.file("other.h5"), "another file");
  EXPECT_EQ(newest_checkpoint(folder.path())->checkpoint.step, 200);
  const std::string newest = checkpoint_path(folder.path(), 200);
  ASSERT_EQ(truncate(newest.c_str(), 5000), 0);
  ::testing::internal::CaptureStderr();
  const auto found = newest_checkpoint(folder.path());
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->checkpoint.step, 10);
  EXPECT_EQ(found->path, checkpoint_path(folder.path(), 10));
  EXPECT_THAT(log, HasSubstr("passing over"));
  EXPECT_THAT(log, HasSubstr("step_00000200.h5"));
}

TEST(Checkpoint, OldOnesAreRemoved) {
  const TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 30})
    save_checkpoint(checkpoint_path(folder.path(), step), some_checkpoint(step, 1));
  write_file(folder.file("step_00000031.h5.tmp"), "interrupted");
  write_file(folder.file("notes.txt"), "kept");
  remove_old_checkpoints(folder.path(), 2);
  EXPECT_EQ(files_in(folder.path()), (std::vector<std::string>{"notes.txt", "step_00000002.h5", "step_00000030.h5"}));
}

// Files may not grow beyond `bytes` while this lives, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST(Checkpoint, ALimitOnFileSizesIsToldAndLosesNothing) {
  const TemporaryFolder folder;
  const std::string path = checkpoint_path(folder.path(), 1);
  save_checkpoint(path, some_checkpoint(1, 20000));
  const std::string whole = read_file(path);
  for (const double share : {0.0, 0.01, 0.5, 0.999}) {
    SCOPED_TRACE(share);
    std::string message;
    {
      const FileSizeLimit limit(static_cast<rlim_t>(share * static_cast<double>(whole.size())));
      message = error_of([&] { save_checkpoint(path, some_checkpoint(2, 20000)); });
    }
    EXPECT_THAT(message, AllOf(HasSubstr("step_00000001.h5.tmp"), HasSubstr("File too large")));
    EXPECT_EQ(read_file(path), whole);
    EXPECT_EQ(files_in(folder.path()).size(), 1u);
  }
  save_checkpoint(path, some_checkpoint(3, 20000));  // once the limit is gone
  EXPECT_EQ(load_checkpoint(path).step, 3);
}

// The disk gets full at every stage of a save.
TEST(Checkpoint, AFullDiskIsToldAndLosesNothing) {
  const TemporaryFolder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "mounting is not permitted";
  struct Unmount {
    std::string path;
    ~Unmount() { umount2(path.c_str(), MNT_DETACH); }
  } const unmount{folder.path()};
  const std::string path = checkpoint_path(folder.path(), 1);
  save_checkpoint(path, some_checkpoint(1, 1000));
  const std::string whole = read_file(path);
  const auto free = static_cast<std::int64_t>(std::filesystem::space(folder.path()).available);
  for (const std::int64_t left : {0, 4096, 8192, 16384, 32768}) {
    SCOPED_TRACE(left);
    write_file(folder.file("filling"), std::string(static_cast<std::size_t>(free - left), 'x'));
    for (const std::string& name : {path, checkpoint_path(folder.path(), 2)}) {
      const std::string message = error_of([&] { save_checkpoint(name, some_checkpoint(2, 1000)); });
      EXPECT_THAT(message, AllOf(HasSubstr("No space left on device"), HasSubstr("free some space")));
    }
    EXPECT_EQ(read_file(path), whole);
    EXPECT_EQ(files_in(folder.path()).size(), 2u) << "a part of a file was left behind";
    std::filesystem::remove(folder.file("filling"));
  }
  save_checkpoint(path, some_checkpoint(3, 1000));  // once there is room again
  EXPECT_EQ(newest_checkpoint(folder.path())->checkpoint.step, 3);
}

TEST(Checkpoint, AFolderThatCannotBeWrittenIsNamed) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { save_checkpoint(folder.file("none/c.h5"), some_checkpoint()); }),
              AllOf(HasSubstr("none/c.h5.tmp"), HasSubstr("choose a folder")));
  if (geteuid() == 0) GTEST_SKIP() << "root writes into any folder";
  chmod(folder.path().c_str(), 0500);
  EXPECT_THAT(error_of([&] { save_checkpoint(folder.file("c.h5"), some_checkpoint()); }),
              HasSubstr("Permission denied"));
  chmod(folder.path().c_str(), 0700);
}

TEST(Checkpoint, WhatCannotBeStoredIsRefused) {
  const TemporaryFolder folder;
  Checkpoint checkpoint = some_checkpoint();
  checkpoint.tensors[0].value.pop_back();
  EXPECT_THAT(error_of([&] { save_checkpoint(folder.file("c.h5"), checkpoint); }), HasSubstr("3999 values"));
  checkpoint = some_checkpoint();
  checkpoint.tensors[1].name = checkpoint.tensors[0].name;
  EXPECT_THAT(error_of([&] { save_checkpoint(folder.file("c.h5"), checkpoint); }), HasSubstr("comes twice"));
  EXPECT_TRUE(files_in(folder.path()).empty());
}

}  // namespace
}  // namespace skymm
