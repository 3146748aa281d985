// Features on disk: what is written is read, damage and foreign files are named, and what they were made of counts.
#include "io/features.hpp"

#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/dataset_source.hpp"
#include "io/file.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;

FeatureInfo info_of(std::int64_t pictures, DType dtype = DType::bf16) {
  return {.pictures = pictures,
          .rows = 3,
          .width = 8,
          .dtype = dtype,
          .dataset = 77,
          .made_by = {{"weights of the ViT", "12ab"}, {"size of pictures", "28"}}};
}

std::string bytes_of(const FeatureInfo& info, int picture) {
  std::string bytes(static_cast<std::size_t>(info.picture_bytes()), '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(picture * 31 + static_cast<int>(i) * 7);
  return bytes;
}

TEST(Features, WhatSeveralWritersWroteIsRead) {
  const testing::TemporaryFolder folder;
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const FeatureInfo info = info_of(5, dtype);
    create_features(folder.file("a.h5"), info);
    Features first(folder.file("a.h5"), Features::Access::write), second(folder.file("a.h5"), Features::Access::write);
    for (const int picture : {0, 2, 4}) first.write(picture, bytes_of(info, picture));
    second.write(1, bytes_of(info, 1));
    first.sync();
    const Features read(folder.file("a.h5"));
    EXPECT_EQ(read.info().dataset, 77U);
    EXPECT_EQ(read.info().dtype, dtype);
    EXPECT_EQ(read.info().made_by, info.made_by);
    for (const int picture : {0, 1, 2, 4}) EXPECT_EQ(read.read(picture), bytes_of(info, picture));
    EXPECT_THAT(error_of([&] { read.read(3); }), HasSubstr("picture 3 has no features"));
    EXPECT_THAT(error_of([&] { read.read(5); }), HasSubstr("no picture 5 of 5"));
    EXPECT_THAT(error_of([&] { first.write(3, "short"); }), HasSubstr("cannot have 5 bytes"));
  }
}

TEST(Features, DamageIsFoundAndForeignFilesAreRefused) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("a.h5");
  const FeatureInfo info = info_of(2);
  create_features(path, info);
  Features(path, Features::Access::write).write(1, bytes_of(info, 1));
  const std::string whole = read_file(path);
  const std::size_t at = whole.find(bytes_of(info, 1));
  ASSERT_NE(at, std::string::npos);
  std::string damaged = whole;
  damaged[at + 5] ^= 1;
  write_file(path, damaged);
  EXPECT_THAT(error_of([&] { Features(path).read(1); }), HasSubstr("or damaged ones"));
  damaged = whole;
  damaged[whole.find("skymm features")] ^= 1;
  write_file(path, damaged);
  EXPECT_THAT(error_of([&] { Features{path}; }), HasSubstr("header is damaged"));
  write_file(path, whole.substr(0, whole.size() - 1));
  EXPECT_NE(error_of([&] { Features{path}; }), "");
  DatasetWriter(folder.file("set.h5")).close();
  EXPECT_THAT(error_of([&] { Features{folder.file("set.h5")}; }), HasSubstr("holds no features"));
  EXPECT_NE(error_of([&] { Features{folder.file("absent.h5")}; }), "");
}

TEST(Features, DifferencesAreNamedOneByOne) {
  const FeatureInfo stored = info_of(2);
  EXPECT_EQ(feature_differences(stored, stored), "");
  FeatureInfo now = stored;
  now.made_by["weights of the ViT"] = "34cd";
  now.made_by["output layer of the ViT"] = "23";
  now.dataset = 78;
  const std::string differences = feature_differences(stored, now);
  EXPECT_THAT(differences, HasSubstr("weights of the ViT: 12ab when they were encoded, 34cd now"));
  EXPECT_THAT(differences, HasSubstr("output layer of the ViT: nothing when they were encoded, 23 now"));
  EXPECT_THAT(differences, HasSubstr("data set: "));
  EXPECT_THAT(differences, ::testing::Not(HasSubstr("size of pictures")));
}

TEST(Features, LieBesideTheirDataSet) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(features_path("data/a.h5"), "data/a.features.h5");
  EXPECT_EQ(features_path("data/set.json"), "data/set.features.h5");
  EXPECT_EQ(features_path(folder.path()), folder.path() + "/dataset.features.h5");
}

TEST(Features, ASourceGivesThemInPlaceOfPicturesAndSetsAreToldApart) {
  const testing::TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& first) {
    DatasetWriter writer(folder.file(name));
    for (const std::string& picture : {first, std::string("second"), first}) {
      writer.add({.id = "x", .images = {picture}, .parts = {image_part(0), answer_part("yes")}});
    }
    writer.add({.id = "text", .parts = {text_part("?"), answer_part("no")}});
    writer.close();
    return std::make_shared<const Dataset>(folder.file(name));
  };
  const auto dataset = write("a.h5", "first"), same = write("b.h5", "first"), other = write("c.h5", "third");
  EXPECT_EQ(dataset->identity(), same->identity());
  EXPECT_NE(dataset->identity(), other->identity());
  const FeatureInfo info = info_of(dataset->image_count());
  ASSERT_EQ(info.pictures, 2) << "a picture that is shared is encoded once";
  create_features(folder.file("f.h5"), info);
  Features out(folder.file("f.h5"), Features::Access::write);
  for (const int picture : {0, 1}) out.write(picture, bytes_of(info, picture));
  const DatasetSource source(dataset, 4, std::make_shared<const Features>(folder.file("f.h5")));
  for (const auto& [sample, picture] : {std::pair{0, 0}, std::pair{1, 1}, std::pair{2, 0}}) {
    EXPECT_EQ(source.read(sample).images, std::vector{bytes_of(info, picture)});
  }
  EXPECT_TRUE(source.read(3).images.empty());
}

}  // namespace
}  // namespace skymm
