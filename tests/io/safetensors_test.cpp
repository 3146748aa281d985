#include "io/weights/safetensors.hpp"

#include <cstring>

#include "core/error.hpp"
#include "io/file.hpp"
#include "support/mutations.hpp"
#include "support/support.hpp"
#include "support/text.hpp"

namespace skymm {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

NamedTensors some_tensors() {
  return {{"layers.0.q_proj.weight", testing::random_tensor({3, 5}, DType::bf16, 1)},
          {"norm", testing::random_tensor({7}, DType::f32, 2)},
          {"half", testing::random_tensor({2, 2}, DType::f16, 3)},
          {"ids", Tensor::from(std::vector<std::int64_t>{1, -2, 3}, {3})},
          {"codes", Tensor::from(std::vector<std::uint8_t>{1, 2, 255}, {3, 1})},
          {"nothing", Tensor::empty({0, 4}, DType::f32)},
          {"scalar", Tensor::full({}, DType::f32, 2.5)},
          {"turned", testing::random_tensor({4, 3}, DType::f32, 4).transpose(0, 1)}};
}

std::string file_of(std::string header, std::size_t data) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  bytes.append(data, '\1');
  return bytes;
}

TEST(Safetensors, RoundTripsEveryDtypeAndShape) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  testing::on_every_stream([&] {
    write_safetensors(path, some_tensors(), {{"format", "pt"}, {"name", "熊猫"}});
    const SafetensorsReader reader(path);
    EXPECT_EQ(reader.entries().size(), some_tensors().size());
    EXPECT_EQ(reader.metadata().at("name"), "熊猫");
    EXPECT_EQ(reader.metadata().size(), 2u);
    NamedTensors again;
    for (const auto& [name, x] : some_tensors()) {
      ASSERT_TRUE(reader.contains(name));
      const Tensor y = reader.read(name);
      EXPECT_EQ(y.dtype(), x.dtype()) << name;
      EXPECT_EQ(y.shape(), x.shape()) << name;
      EXPECT_EQ(testing::values_of(y), testing::values_of(x)) << name;
      again.emplace_back(name, y);
    }
    EXPECT_EQ(content_hash(again), content_hash(some_tensors()));
    for (const WeightEntry& entry : reader.entries()) {
      if (entry.dtype == "F32") {
        EXPECT_EQ(entry.begin % 4, 0u);
      }
    }
  });
  EXPECT_NE(read_file(path).size(), 0u);
  EXPECT_THAT(error_of([&] { read_file(path + ".tmp"); }), HasSubstr("No such file"));
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  write_safetensors(path, some_tensors());
  const std::string whole = read_file(path);
  for (std::size_t n = 0; n < whole.size(); n += n < 16 ? 1 : 13) {
    write_file(path, std::string_view(whole).substr(0, n));
    EXPECT_THAT(error_of([&] { SafetensorsReader reader(path); }), HasSubstr(path)) << n;
  }
  write_file(path, whole + "x");
  EXPECT_THAT(error_of([&] { SafetensorsReader reader(path); }), HasSubstr("belong to no tensor"));
}

struct Hostile {
  std::string header;
  std::size_t data;
  std::string reason;
};

TEST(Safetensors, HostileHeadersAreRefusedWithTheReason) {
  const TemporaryFolder folder;
  const std::string path = folder.file("hostile.safetensors");
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::vector<Hostile> table = {
      {"", 0, "not JSON"},
      {"{\"a\":", 0, "not JSON"},
      {"[1,2]", 0, "not a JSON object"},
      {"{\"a\":7}", 0, "lacks dtype"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "lacks dtype, shape or data_offsets"},
      {R"({"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype 'F99'"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "impossible shape"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "impossible shape"},
      {R"({"a":{"dtype":"F32","shape":[281474976710656,281474976710656],"data_offsets":[0,8]}})", 8,
       "impossible shape"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "impossible data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, "impossible data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}})", 8, "truncated"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,12]}})", 12, "takes 8 bytes"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}})", 12, "overlaps 'a'"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}})", 16, "before tensor 'b'"},
      {"{" + a + "," + a + "}", 8, "has the name 'a' twice"},
      {R"({"__metadata__":{"x":1}})", 0, "is not a string"},
      {R"({"a":{"dtype":"F32","shape":[[[[2]]]],"data_offsets":[0,8]}})", 8, "nested too deeply"},
      {std::string(100000, '['), 0, "nested too deeply"},
  };
  for (const Hostile& hostile : table) {
    SCOPED_TRACE(hostile.header.substr(0, 80));
    write_file(path, file_of(hostile.header, hostile.data));
    EXPECT_THAT(error_of([&] { SafetensorsReader reader(path); }), HasSubstr(hostile.reason));
  }
  write_file(path, std::string(64, '\xFF'));
  EXPECT_THAT(error_of([&] { SafetensorsReader reader(path); }), HasSubstr("at most 100000000"));
  write_file(path, file_of("{" + a + "}   ", 8));
  EXPECT_EQ(SafetensorsReader(path).entries().size(), 1u);  // padding of the header is allowed
}

TEST(Safetensors, WhatCannotBeReadIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  write_file(path, file_of(R"({"flag":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},)"
                           R"("deep":{"dtype":"U8","shape":[1,1,1,1,1,1,1],"data_offsets":[2,3]}})",
                           3));
  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.entry("flag").dtype, "BOOL");
  EXPECT_THAT(error_of([&] { reader.read("flag"); }), HasSubstr("BOOL"));
  EXPECT_THAT(error_of([&] { reader.read("deep"); }), HasSubstr("7 dimensions"));
  EXPECT_THAT(error_of([&] { reader.read("absent"); }), HasSubstr("no tensor 'absent'"));
  EXPECT_THAT(error_of([&] { SafetensorsReader other(folder.file("none")); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { SafetensorsReader other(folder.path()); }), HasSubstr("not a file"));
  EXPECT_THAT(error_of([&] { write_safetensors(folder.file("no/such/folder"), {}); }), HasSubstr("cannot create"));
  const Tensor x = Tensor::full({1}, DType::f32, 1);
  EXPECT_THAT(error_of([&] { write_safetensors(path, {{"x", x}, {"x", x}}); }), HasSubstr("comes twice"));
  EXPECT_EQ(SafetensorsReader(path).entries().size(), 2u) << "a failed write touched the file";
}

TEST(Safetensors, DamagedFilesAreReadOrRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  write_safetensors(path, some_tensors(), {{"format", "pt"}});
  testing::expect_read_or_refused(read_file(path), path, 4000, [&] {
    const SafetensorsReader reader(path);
    for (const WeightEntry& entry : reader.entries()) reader.read(entry.name);
  });
}

TEST(Safetensors, RowsAreReadAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.file("w.safetensors");
  const Tensor x = testing::random_tensor({9, 2, 3}, DType::f32, 1), v = testing::random_tensor({5}, DType::f16, 2);
  write_safetensors(path, {{"x", x}, {"v", v}, {"n", Tensor::full({}, DType::f32, 3)}});
  const SafetensorsReader reader(path);
  testing::on_every_stream([&] {
    EXPECT_EQ(testing::values_of(reader.read_rows("x", 2, 7)), testing::values_of(x.slice(0, 2, 7)));
    EXPECT_EQ(reader.read_rows("x", 4, 4).shape(), (Shape{0, 2, 3}));
    EXPECT_EQ(testing::values_of(reader.read_rows("v", 1, 3)), testing::values_of(v.slice(0, 1, 3)));
    const Tensor to = Tensor::zeros({3, 6}, DType::bf16);
    reader.read_into("x", 1, 4, to);
    EXPECT_EQ(testing::values_of(to), testing::values_of(x.slice(0, 1, 4).to(DType::bf16)));
    const Tensor flat = Tensor::zeros({2, 2, 2}, DType::f32);
    EXPECT_THAT(error_of([&] { reader.read_into("x", 0, 2, flat); }), HasSubstr("do not fill"));
    const Tensor number = Tensor::zeros({1}, DType::f32);
    reader.read_into("n", number);
    EXPECT_EQ(number.item(), 3);
  });
  EXPECT_THAT(error_of([&] { reader.read_rows("x", 5, 10); }), HasSubstr("[9, 2, 3] has no rows [5, 10)"));
  EXPECT_THAT(error_of([&] { reader.read_rows("x", -1, 2); }), HasSubstr("no rows"));
}

TEST(Hash, IsXxh64) {
  EXPECT_EQ(hash64("", 0), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64("a", 1), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash64("abc", 3), 0x44BC2CF5AD770999u);
  const std::string text = "Nobody inspects the spammish repetition";  // of more than 32 bytes
  EXPECT_EQ(hash64(text.data(), text.size()), 0xFBCEA83C8A378BF1u);
}

TEST(Hash, DoesNotDependOnThePieces) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (const std::size_t step : {1, 3, 31, 32, 33, 100}) {
    Hash64 hash;
    for (std::size_t at = 0; at < text.size(); at += step) hash.add(text.data() + at, std::min(step, text.size() - at));
    EXPECT_EQ(hash.digest(), hash64(text.data(), text.size()));
  }
}

TEST(Hash, SeesNamesShapesAndEveryElementButNotTheOrder) {
  const auto hash_of = [](std::string name, Shape shape, double last, bool turn = false) {
    Tensor x = Tensor::zeros(shape, DType::f32);
    x.view({x.numel()}).slice(0, x.numel() - 1, x.numel()).fill(last);
    NamedTensors tensors = {{std::move(name), x}, {"other", Tensor::zeros({3}, DType::bf16)}};
    if (turn) std::swap(tensors[0], tensors[1]);
    return content_hash(tensors);
  };
  const std::uint64_t base = hash_of("a", {2, 6}, 0);
  EXPECT_EQ(hash_of("a", {2, 6}, 0, true), base);
  EXPECT_NE(hash_of("b", {2, 6}, 0), base);
  EXPECT_NE(hash_of("a", {3, 4}, 0), base);
  EXPECT_NE(hash_of("a", {2, 6}, 1), base);
}

}  // namespace
}  // namespace skymm
