#include "io/json_stream.hpp"

#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "io/byte_stream.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// The file's bytes, as far as an element may be long: one that never ends is cut there and becomes a syntax error.
struct Bytes {
  ByteStream& file;
  std::int64_t element_begin = 0;
  bool too_long = false;

  bool end() {
    too_long = too_long || file.position() - element_begin > longest_json_element;
    return too_long || file.end();
  }
};

class ByteIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  ByteIterator() = default;
  explicit ByteIterator(Bytes& bytes) : bytes_(&bytes) {}
  char operator*() const { return bytes_->file.peek(); }
  ByteIterator& operator++() {
    bytes_->file.skip();
    return *this;
  }
  friend bool operator==(const ByteIterator& a, const ByteIterator& b) { return a.at_end() == b.at_end(); }

 private:
  bool at_end() const { return bytes_ == nullptr || bytes_->end(); }
  Bytes* bytes_ = nullptr;
};

// Builds each element of the outermost array, or only follows its brackets where it is not wanted.
class ElementBuilder final : public nlohmann::json_sax<json> {
 public:
  ElementBuilder(const JsonStreamEvents& events, Bytes& bytes) : events_(events), bytes_(bytes) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_integer(number_integer_t v) override { return value(v); }
  bool number_unsigned(number_unsigned_t v) override { return value(v); }
  bool number_float(number_float_t v, const string_t&) override { return value(v); }
  bool string(string_t& v) override { return value(std::move(v)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override {
    if (!in_array_) return in_array_ = true;
    return open(json::array());
  }
  bool end_array() override { return depth_ == 0 ? true : close(); }
  bool key(string_t& name) override {
    if (building_) key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    problem = error.what();
    return false;
  }

  std::string problem;
  bool stopped = false;

 private:
  // Starts an element where `depth_` is 0. The outermost value must be an array.
  bool begin() {
    if (!in_array_) {
      problem = "the file holds no JSON array";
      return false;
    }
    if (depth_ == 0) building_ = events_.wants();
    return true;
  }

  json* place(json&& v) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return &root_;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(v));
      return &parent.back();
    }
    return &(parent[key_] = std::move(v));
  }

  bool value(json v) {
    if (!begin()) return false;
    if (building_) place(std::move(v));
    return depth_ > 0 || finish();
  }

  bool open(json&& v) {
    if (!begin()) return false;
    ++depth_;
    if (building_) stack_.push_back(place(std::move(v)));
    return true;
  }

  bool close() {
    if (building_) stack_.pop_back();
    return --depth_ > 0 || finish();
  }

  bool finish() {
    bytes_.element_begin = bytes_.file.position();
    events_.at(bytes_.element_begin);
    if (building_ && !events_.element(std::move(root_))) stopped = true;
    root_ = nullptr;
    return !stopped;
  }

  const JsonStreamEvents& events_;
  Bytes& bytes_;
  bool in_array_ = false, building_ = false;
  std::size_t depth_ = 0;
  json root_;
  std::vector<json*> stack_;  // containers that are open; a parent does not grow while its child is open
  std::string key_;
};

}  // namespace

std::string stream_json_array(const std::string& path, const JsonStreamEvents& events) {
  ByteStream file(path);
  Bytes bytes{file};
  ElementBuilder builder(events, bytes);
  const bool whole = json::sax_parse(ByteIterator(bytes), ByteIterator(), &builder);
  if (whole || builder.stopped) return "";
  if (bytes.too_long) return fmt::format("byte {}: an entry is longer than 64 MiB", bytes.element_begin);
  return fmt::format("byte {}: {}", file.position(), builder.problem);
}

}  // namespace skymm
