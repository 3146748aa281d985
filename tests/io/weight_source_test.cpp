#include <filesystem>

#include "io/file.hpp"
#include "io/weights/safetensors.hpp"
#include "support/gguf_writer.hpp"
#include "support/mutations.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr const char* index_name = "model.safetensors.index.json";
constexpr const char* first_name = "model-00001-of-00002.safetensors";
constexpr const char* second_name = "model-00002-of-00002.safetensors";

// A model of two files; the index leaves out what the second has beyond it.
void write_shards(const TemporaryFolder& folder) {
  write_safetensors(folder.file(first_name),
                    {{"a", Tensor::full({2, 3}, DType::f32, 1)}, {"b", Tensor::full({4}, DType::bf16, 2)}});
  write_safetensors(folder.file(second_name),
                    {{"c", Tensor::full({3, 2}, DType::f32, 3)}, {"a", Tensor::full({1}, DType::f32, 9)}});
  write_file(folder.file(index_name),
             R"({"metadata":{"total_size":56},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
             R"("b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}})");
}

TEST(WeightSource, ShardsAreOneModelByTheirIndex) {
  const TemporaryFolder folder;
  write_shards(folder);
  for (const std::string& path : {folder.path(), folder.file(index_name)}) {
    const auto source = open_weights(path);
    EXPECT_EQ(source->entries().size(), 3u);
    EXPECT_EQ(source->files().size(), 2u);
    EXPECT_EQ(source->read("a").shape(), (Shape{2, 3}));
    EXPECT_EQ(testing::values_of(source->read_rows("c", 1, 3)), testing::Values(4, 3.0));
    EXPECT_EQ(source->stored(source->entry("b")).size(), 8u);
  }
}

TEST(WeightSource, AnIndexThatLiesIsRefused) {
  const TemporaryFolder folder;
  write_shards(folder);
  const auto refusal = [&](const std::string& index) {
    write_file(folder.file(index_name), index);
    return error_of([&] { open_weights(folder.path()); });
  };
  EXPECT_THAT(refusal(R"({"weight_map":{"z":"model-00001-of-00002.safetensors"}})"),
              HasSubstr("holds 'z', but it does not"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"model-00003.safetensors"}})"), HasSubstr("No such file"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"../model.safetensors"}})"), HasSubstr("not the name of a file beside"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":7}})"), HasSubstr("not the name of a file beside"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"x","a":"y"}})"), HasSubstr("has the name 'a' twice"));
  EXPECT_THAT(refusal(R"({"weights":{}})"), HasSubstr("weight_map"));
  EXPECT_THAT(refusal("{\"weight_map\":"), HasSubstr("not JSON"));
}

TEST(WeightSource, DamagedIndexesAreReadOrRefused) {
  const TemporaryFolder folder;
  write_shards(folder);
  const std::string whole = read_file(folder.file(index_name));
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    testing::write_anew(folder.file(index_name), testing::mutated(whole, random));
    try {
      const auto source = open_weights(folder.file(index_name));
      for (const WeightEntry& entry : source->entries()) source->read(entry.name);
    } catch (const Error& error) {
      ++refused;
      EXPECT_THAT(error.message(), HasSubstr(folder.path()));
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 2000);
}

TEST(WeightSource, IsOpenedByContent) {
  const TemporaryFolder folder;
  write_safetensors(folder.file("weights.bin"), {{"x", Tensor::zeros({2}, DType::f32)}});
  EXPECT_TRUE(open_weights(folder.file("weights.bin"))->contains("x"));
  testing::GgufWriter gguf;
  gguf.tensor("y", {2}, {1, 2});
  write_file(folder.file("anything"), gguf.file());
  EXPECT_TRUE(open_weights(folder.file("anything"))->contains("y"));
  // A header of 123 bytes: the file begins with '{', as an index does.
  std::string header = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  header.resize(123, ' ');
  write_file(folder.file("odd"), std::string("{\0\0\0\0\0\0\0", 8) + header + "\7");
  EXPECT_EQ(open_weights(folder.file("odd"))->read("x").item(), 7);
}

TEST(WeightSource, FoldersAreReadAsHuggingFaceLaysThemOut) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { open_weights(folder.path()); }), HasSubstr("has neither model.safetensors"));
  write_file(folder.file("pytorch_model.bin"), "PK");
  EXPECT_THAT(error_of([&] { open_weights(folder.path()); }), HasSubstr("safe_serialization=True"));
  write_safetensors(folder.file("open_clip.safetensors"), {{"x", Tensor::zeros({2}, DType::f32)}});
  EXPECT_TRUE(open_weights(folder.path())->contains("x"));
  write_safetensors(folder.file("second.safetensors"), {});
  EXPECT_THAT(error_of([&] { open_weights(folder.path()); }), HasSubstr("2 .safetensors files"));
  write_safetensors(folder.file("model.safetensors"), {{"y", Tensor::zeros({2}, DType::f32)}});
  EXPECT_TRUE(open_weights(folder.path())->contains("y"));
  EXPECT_THAT(error_of([&] { open_weights(folder.file("absent")); }), HasSubstr("No such file"));
}

}  // namespace
}  // namespace skymm
