#include "support/checkpoint.hpp"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TemporaryFolder;

using testing::save_checkpoint;
using testing::some_checkpoint;
using testing::SomeCheckpoint;

void expect_equal(const CheckpointInfo& a, const CheckpointInfo& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.updates, b.updates);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.position, b.position);
  EXPECT_EQ(a.frozen, b.frozen);
  EXPECT_EQ(a.config, b.config);
  EXPECT_EQ(a.code_version, b.code_version);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.grid, b.grid);
  ASSERT_EQ(a.origins.size(), b.origins.size());
  for (std::size_t i = 0; i < a.origins.size(); ++i) {
    EXPECT_EQ(a.origins[i].path, b.origins[i].path);
    EXPECT_EQ(a.origins[i].bytes, b.origins[i].bytes);
    EXPECT_EQ(a.origins[i].hash, b.origins[i].hash);
  }
}

void expect_holds(const CheckpointFile& file, const SomeCheckpoint& checkpoint) {
  expect_equal(file.info(), checkpoint.info);
  ASSERT_EQ(file.tensors().size(), checkpoint.tensors.size());
  for (std::size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const auto& [stored, arrays] = checkpoint.tensors[i];
    EXPECT_EQ(file.tensors()[i].name, stored.name);
    EXPECT_EQ(file.tensors()[i].shape, stored.shape);
    EXPECT_EQ(file.tensors()[i].begins, stored.begins);
    EXPECT_EQ(file.find(stored.name), i);
    for (int array = 0; array < stored.arrays(); ++array) {
      EXPECT_EQ(file.read_whole(i, array), arrays[static_cast<std::size_t>(array)]) << stored.name;
    }
  }
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
  expect_holds(CheckpointFile(path), some_checkpoint());
  save_checkpoint(path, some_checkpoint(8));  // over itself
  EXPECT_EQ(CheckpointFile(path).info().step, 8);
  EXPECT_EQ(files_in(folder.path()).size(), 1u);
}

TEST(Checkpoint, ManyWritersMakeTheSameFile) {
  const TemporaryFolder folder;
  save_checkpoint(folder.file("one.h5"), some_checkpoint());
  write_file(folder.file("three.h5.tmp"), std::string(100000, 'x'));  // of a save that was interrupted
  save_checkpoint(folder.file("three.h5"), some_checkpoint(), 3);
  expect_holds(CheckpointFile(folder.file("three.h5")), some_checkpoint());
  EXPECT_EQ(std::filesystem::file_size(folder.file("three.h5")), std::filesystem::file_size(folder.file("one.h5")));
}

TEST(Checkpoint, TheStructureSparesTheArraysOfManySmallTensors) {
  const TemporaryFolder folder;
  for (const int count : {10, 40, 300}) {
    SomeCheckpoint checkpoint = some_checkpoint(7, 10);
    for (int i = 0; i < count; ++i) {
      testing::SomeTensor tensor = checkpoint.tensors[1];
      tensor.stored.name = fmt::format("model.layers.{}.self_attn.q_proj.lora_A.weight", i);
      checkpoint.tensors.push_back(std::move(tensor));
    }
    save_checkpoint(folder.file("c.h5"), checkpoint, 2);
    expect_holds(CheckpointFile(folder.file("c.h5")), checkpoint);
  }
}

TEST(Checkpoint, AnySliceIsRead) {
  const TemporaryFolder folder;
  const SomeCheckpoint checkpoint = some_checkpoint(7, 10);
  save_checkpoint(folder.file("c.h5"), checkpoint);
  const CheckpointFile file = CheckpointFile::from_text(CheckpointFile(folder.file("c.h5")).text());
  expect_equal(file.info(), checkpoint.info);
  for (int array = 0; array < 3; ++array) {
    const std::vector<float>& whole = checkpoint.tensors[0].arrays[static_cast<std::size_t>(array)];
    for (std::int64_t begin = 0; begin <= 40; ++begin) {
      for (std::int64_t end = begin; end <= 40; ++end) {
        std::vector<float> slice(static_cast<std::size_t>(end - begin));
        file.read(0, array, begin, end, slice.data());
        ASSERT_TRUE(std::equal(slice.begin(), slice.end(), whole.begin() + begin)) << begin << " to " << end;
      }
    }
  }
  float value = 0;
  EXPECT_THAT(error_of([&] { file.read(0, 0, 40, 41, &value); }), HasSubstr("no elements 40 to 41"));
  EXPECT_THAT(error_of([&] { file.read(3, 1, 0, 1, &value); }), HasSubstr("weights.only/m"));
}

TEST(Checkpoint, WhatChangesFromOneToTheNextFits) {
  const TemporaryFolder folder;
  SomeCheckpoint checkpoint = some_checkpoint();
  const CheckpointLayout layout(checkpoint.stored(), checkpoint.info);
  checkpoint.info.metrics = std::string(10000, '1');
  CheckpointPart(layout, folder.file("c.h5")).write_structure(checkpoint.info);
  checkpoint.info.metrics = std::string(2 * CheckpointLayout::room_for_growth, '1');
  EXPECT_THAT(error_of([&] { CheckpointPart(layout, folder.file("c.h5")).write_structure(checkpoint.info); }),
              HasSubstr("does not fit"));
}

TEST(Checkpoint, Version1IsRead) {
  const CheckpointFile file(std::string(SKYMM_SOURCE_DIR) + "/tests/golden/checkpoint_version1.h5");
  file.verify();
  EXPECT_EQ(file.version(), 1);
  EXPECT_EQ(file.info().step, 7);
  EXPECT_EQ(file.info().updates, 7);
  EXPECT_EQ(file.info().frozen.at("model"), 0x123456789ABCDEF0u);
  const auto ramp = [](std::size_t n, float start) {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = start + 0.25F * static_cast<float>(i);
    return values;
  };
  EXPECT_EQ(file.read_whole(file.find("resampler.query"), 0), ramp(40, 1));
  EXPECT_EQ(file.read_whole(file.find("resampler.query"), 2), ramp(40, 3));
  EXPECT_EQ(file.read_whole(file.find("scale"), 1), ramp(1, 6));
  EXPECT_EQ(file.read_whole(file.find("weights.only"), 0), ramp(5, 8));
  std::vector<float> part(3);
  CheckpointFile::from_text(file.text()).read(file.find("resampler.query"), 1, 17, 20, part.data());
  EXPECT_EQ(part, ramp(3, 2 + 17 * 0.25F));
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("c.h5");
  save_checkpoint(path, some_checkpoint(7, 10));
  const std::string whole = read_file(path);
  for (std::size_t n = 0; n < whole.size(); n += 97) {
    write_file(path, std::string_view(whole).substr(0, n));
    EXPECT_THAT(error_of([&] { CheckpointFile(path).verify(); }), HasSubstr(path)) << n;
  }
}

TEST(Checkpoint, DamagedValuesAndHeadersAreFound) {
  const TemporaryFolder folder;
  const std::string path = folder.file("c.h5");
  const SomeCheckpoint checkpoint = some_checkpoint();
  save_checkpoint(path, checkpoint);
  const std::string whole = read_file(path);
  const auto with_flip_at = [&](std::size_t at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    write_file(path, bytes);
    return error_of([&] { CheckpointFile(path).verify(); });
  };
  const auto& m = checkpoint.tensors[0].arrays[1];
  const std::size_t of_m = whole.find(std::string(reinterpret_cast<const char*>(m.data()), 64));
  ASSERT_NE(of_m, std::string::npos);
  EXPECT_THAT(with_flip_at(of_m + 33), AllOf(HasSubstr("damaged"), HasSubstr("resampler.queries/m")));
  // A rank that reads other pieces does not see it.
  write_file(path, whole);
  std::string damaged = whole;
  damaged[of_m + 33] ^= 4;
  write_file(path, damaged);
  std::vector<float> values(500);
  CheckpointFile(path).read(0, 1, 600, 1100, values.data());
  EXPECT_THAT(error_of([&] { CheckpointFile(path).read(0, 1, 500, 600, values.data()); }), HasSubstr("0 to 501"));
  EXPECT_THAT(with_flip_at(whole.find("[model]")), AllOf(HasSubstr("damaged"), HasSubstr("header")));
}

TEST(Checkpoint, OtherFilesAreRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { CheckpointFile(folder.file("none.h5")); }), HasSubstr("No such file"));
  write_file(folder.file("text.h5"), std::string(5000, 'x'));
  EXPECT_THAT(error_of([&] { CheckpointFile(folder.file("text.h5")); }), HasSubstr("is not a checkpoint"));
}

TEST(Checkpoint, AllDifferencesToAModelAreTold) {
  const TemporaryFolder folder;
  const SomeCheckpoint checkpoint = some_checkpoint();
  save_checkpoint(folder.file("c.h5"), checkpoint);
  const CheckpointFile file(folder.file("c.h5"));
  auto expected = checkpoint.expected();
  EXPECT_EQ(checkpoint_differences(file, expected, checkpoint.info.frozen), "");
  expected[0].shape = {4, 999};
  expected[1].name = "llm.layers.0.q_proj.lora_B.weight";
  const std::string text = checkpoint_differences(file, expected, {{"llm", 2}, {"vit", 1}});
  EXPECT_THAT(text, HasSubstr("missing: llm.layers.0.q_proj.lora_B.weight [2, 3]"));
  EXPECT_THAT(text, HasSubstr("unexpected: llm.layers.0.q_proj.lora_A.weight [2, 3]"));
  EXPECT_THAT(text, HasSubstr("of another shape: resampler.queries [4, 1000], expected [4, 999]"));
  EXPECT_THAT(text, HasSubstr("other frozen weights: llm (123456789abcdef0, expected 0000000000000002)"));
  EXPECT_THAT(text, Not(HasSubstr("vit")));
  EXPECT_THAT(checkpoint_differences(file, checkpoint.expected(), {{"llm", 0x123456789ABCDEF0}}),
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
  EXPECT_EQ(newest_checkpoint(folder.path())->info().step, 200);
  const std::string newest = checkpoint_path(folder.path(), 200);
  ASSERT_EQ(truncate(newest.c_str(), 5000), 0);
  ::testing::internal::CaptureStderr();
  const auto found = newest_checkpoint(folder.path());
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->info().step, 10);
  EXPECT_EQ(found->path(), checkpoint_path(folder.path(), 10));
  EXPECT_THAT(log, HasSubstr("passing over"));
  EXPECT_THAT(log, HasSubstr("step_00000200.h5"));
}

TEST(Checkpoint, OldOnesAreRemoved) {
  const TemporaryFolder folder;
  const auto names = [&] { return files_in(folder.path()); };
  const auto name = [](std::int64_t step) { return fmt::format("step_{:08}.h5", step); };
  for (const std::int64_t step : {1, 2, 10, 20, 25, 30, 40}) write_file(checkpoint_path(folder.path(), step), "");
  write_file(folder.file("notes.txt"), "kept");
  remove_old_checkpoints(folder.path(), 30, {3, 10}, {checkpoint_path(folder.path(), 25)});
  EXPECT_EQ(names(), (std::vector<std::string>{"notes.txt", name(10), name(20), name(25), name(30), name(40)}));
  remove_old_checkpoints(folder.path(), 30, {2}, {checkpoint_path(folder.path(), 25)});
  EXPECT_EQ(names(), (std::vector<std::string>{"notes.txt", name(20), name(25), name(30), name(40)}));
  remove_old_checkpoints(folder.path(), 40, {1});
  EXPECT_EQ(names(), (std::vector<std::string>{"notes.txt", name(40)}));
}

TEST(Checkpoint, WhatWasInterruptedIsRemoved) {
  const TemporaryFolder folder;
  for (const char* name : {"step_00000031.h5", "step_00000031.h5.tmp", "notes.tmp"}) write_file(folder.file(name), "");
  remove_old_checkpoints(folder.path(), 31, {1});
  EXPECT_EQ(files_in(folder.path()).size(), 3u) << "another rank may be writing it";
  remove_interrupted_checkpoints(folder.path());
  EXPECT_EQ(files_in(folder.path()), (std::vector<std::string>{"notes.tmp", "step_00000031.h5"}));
  remove_interrupted_checkpoints(folder.file("absent"));
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
  EXPECT_EQ(CheckpointFile(path).info().step, 3);
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
  EXPECT_EQ(newest_checkpoint(folder.path())->info().step, 3);
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

// Writing there gives EIO to some ranks, and EINVAL to the one that gives the file its size.
TEST(Checkpoint, AnErrorOfTheDiskIsTold) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("/proc/self/mem", folder.file("c.h5.tmp"));
  const SomeCheckpoint checkpoint = some_checkpoint(7, 10);
  const CheckpointLayout layout(checkpoint.stored(), checkpoint.info);
  CheckpointPart part(layout, folder.file("c.h5"));
  EXPECT_THAT(error_of([&] { part.write(1, 0, 0, checkpoint.tensors[1].arrays[0].data()); }),
              AllOf(HasSubstr("c.h5.tmp"), HasSubstr("Input/output error")));
  EXPECT_THAT(error_of([&] { part.write_structure(checkpoint.info); }), HasSubstr("c.h5.tmp"));
}

TEST(Checkpoint, WhatCannotBeStoredIsRefused) {
  const CheckpointInfo info;
  const auto refusal = [&](std::vector<StoredTensor> tensors) {
    return error_of([&] { CheckpointLayout(std::move(tensors), info); });
  };
  EXPECT_THAT(refusal({{"a", {2}, true, {0}}, {"a", {2}, true, {0}}}), HasSubstr("comes twice"));
  EXPECT_THAT(refusal({{"a/b", {2}, true, {0}}}), HasSubstr("a/b"));
  EXPECT_THAT(refusal({{"a", {2}, true, {1}}}), HasSubstr("first element"));
  EXPECT_THAT(refusal({{"a", {2}, true, {0, 2}}}), HasSubstr("not in order"));
  EXPECT_THAT(refusal({{"a", {2}, true, {}}}), HasSubstr("first element"));
}

}  // namespace
}  // namespace skymm
