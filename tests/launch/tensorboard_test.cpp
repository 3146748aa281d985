#include "launch/training/tensorboard.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <vector>

#include "core/error.hpp"

namespace skymm {
namespace {

// A reader of its own: fields of a protocol buffer by number, bytes as they are.
struct Message {
  std::map<unsigned, std::uint64_t> numbers;  // varint and fixed
  std::map<unsigned, std::string> bytes;

  explicit Message(const std::string& text) {
    std::size_t at = 0;
    const auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(text.at(at++));
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < text.size()) {
      const std::uint64_t tag = varint();
      const auto number = static_cast<unsigned>(tag >> 3);
      switch (tag & 7) {
        case 0:
          numbers[number] = varint();
          break;
        case 1:
        case 5: {
          const std::size_t size = (tag & 7) == 1 ? 8 : 4;
          std::uint64_t value = 0;
          std::memcpy(&value, text.substr(at, size).data(), size);
          numbers[number] = value;
          at += size;
          break;
        }
        default: {
          const std::uint64_t size = varint();
          bytes[number] = text.substr(at, size);
          at += size;
        }
      }
    }
  }
};

std::vector<Message> read_events(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  std::vector<Message> events;
  for (std::size_t at = 0; at < text.size();) {
    const std::string length = text.substr(at, 8);
    std::uint64_t size = 0;
    std::uint32_t length_crc = 0, data_crc = 0;
    std::memcpy(&size, length.data(), 8);
    std::memcpy(&length_crc, text.data() + at + 8, 4);
    const std::string data = text.substr(at + 12, size);
    std::memcpy(&data_crc, text.data() + at + 12 + size, 4);
    EXPECT_EQ(length_crc, masked_crc32c(length));
    EXPECT_EQ(data_crc, masked_crc32c(data));
    events.emplace_back(data);
    at += 16 + size;
  }
  return events;
}

float as_float(std::uint64_t bits) {
  const auto word = static_cast<std::uint32_t>(bits);
  float value = 0;
  std::memcpy(&value, &word, 4);
  return value;
}

class TensorBoard : public ::testing::Test {
 protected:
  TensorBoard() : folder_(::testing::TempDir() + "skymm_tensorboard") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~TensorBoard() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(TensorBoard, ScalarsReadBack) {
  EventWriter writer(folder_);
  writer.scalar(1, "loss", 2.5);
  writer.scalar(300, "validation loss", 1e-3);
  writer.scalar(std::int64_t{1} << 40, "lvm/retrieval_english", NAN);
  const std::vector<Message> events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4U);
  EXPECT_EQ(events[0].bytes.at(3), "brain.Event:2");
  const auto value = [&](std::size_t i) { return Message(Message(events[i].bytes.at(5)).bytes.at(1)); };
  EXPECT_EQ(events[1].numbers.at(2), 1U);
  EXPECT_EQ(value(1).bytes.at(1), "loss");
  EXPECT_EQ(as_float(value(1).numbers.at(2)), 2.5F);
  EXPECT_EQ(events[2].numbers.at(2), 300U);
  EXPECT_EQ(as_float(value(2).numbers.at(2)), 1e-3F);
  EXPECT_EQ(events[3].numbers.at(2), std::uint64_t{1} << 40);
  EXPECT_TRUE(std::isnan(as_float(value(3).numbers.at(2))));
  EXPECT_THAT(writer.path(), ::testing::HasSubstr("/events.out.tfevents."));
}

TEST_F(TensorBoard, AResumedRunDropsWhatWasBeyondItsCheckpoint) {
  const std::vector<Message> events = read_events(EventWriter(folder_, 500).path());
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[1].numbers.at(2), 501U);
  EXPECT_EQ(Message(events[1].bytes.at(7)).numbers.at(1), 1U);  // SessionLog START
}

TEST_F(TensorBoard, ChecksumIsTheFormatsOwn) {
  // CRC-32C of "123456789" is e3069283; rotated right by 15 bits plus a282ead8.
  EXPECT_EQ(masked_crc32c("123456789"), ((0xe3069283U >> 15) | (0xe3069283U << 17)) + 0xa282ead8U);
}

TEST_F(TensorBoard, RefusesAFolderThatIsNotThere) { EXPECT_THROW(EventWriter(folder_ + "/absent"), Error); }

}  // namespace
}  // namespace skymm
