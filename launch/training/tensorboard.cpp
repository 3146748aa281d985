#include "launch/training/tensorboard.hpp"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/crc32c.hpp"

namespace skymm {
namespace {

static_assert(std::endian::native == std::endian::little, "fixed-width fields are written as they lie in memory");

// Protocol buffers: a field is (number << 3 | wire type) and its value.
enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string key(unsigned number, Wire wire) { return varint(number << 3 | static_cast<unsigned>(wire)); }
std::string integer_field(unsigned number, std::int64_t value) {
  return key(number, Wire::varint) + varint(static_cast<std::uint64_t>(value));
}
std::string bytes_field(unsigned number, std::string_view value) {
  return key(number, Wire::bytes) + varint(value.size()) + std::string(value);
}
std::string double_field(unsigned number, double value) { return key(number, Wire::fixed64) + raw(value); }
std::string float_field(unsigned number, float value) { return key(number, Wire::fixed32) + raw(value); }

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog session_log =
// 7 }
std::string event(std::int64_t step, const std::string& what) {
  return double_field(1, wall_time()) + integer_field(2, step) + what;
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

EventWriter::EventWriter(const std::string& folder, std::int64_t first_step) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  path_ = fmt::format("{}/events.out.tfevents.{}.{}.{}", folder, static_cast<std::int64_t>(wall_time()), host.data(),
                      getpid());
  file_.open(path_, std::ios::binary | std::ios::app);
  check(file_.is_open(), "{} cannot be written", path_);
  record(event(0, bytes_field(3, "brain.Event:2")));
  if (first_step > 0) record(event(first_step + 1, bytes_field(7, integer_field(1, 1))));  // SessionLog.status = START
}

void EventWriter::record(const std::string& event) {
  if (failed_) return;
  const std::string length = raw(static_cast<std::uint64_t>(event.size()));
  file_ << length << raw(masked_crc32c(length)) << event << raw(masked_crc32c(event)) << std::flush;
  if (file_.good()) return;
  failed_ = true;
  log::warn("{} cannot be written any more; the run goes on without it", path_);
}

// Summary { repeated Value value = 1 }, Value { string tag = 1; float simple_value = 2 }
void EventWriter::scalar(std::int64_t step, std::string_view tag, double value) {
  const std::string entry = bytes_field(1, tag) + float_field(2, static_cast<float>(value));
  record(event(step, bytes_field(5, bytes_field(1, entry))));
}

}  // namespace skymm
