#include "io/weights/gguf_format.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <unordered_set>

#include "core/error.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

constexpr std::array<GgufType, 22> types = {
    {{0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},    {3, "Q4_1", 32, 20},
     {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},    {8, "Q8_0", 32, 34},    {9, "Q8_1", 32, 36},
     {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176},
     {14, "Q6_K", 256, 210}, {15, "Q8_K", 256, 292}, {20, "IQ4_NL", 32, 18}, {23, "IQ4_XS", 256, 136},
     {24, "I8", 1, 1},       {25, "I16", 1, 2},      {26, "I32", 1, 4},      {27, "I64", 1, 8},
     {28, "F64", 1, 8},      {30, "BF16", 1, 2}}};

// What a key-value pair holds, by its number in the file.
enum class Kind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };
constexpr std::uint32_t kind_count = 13;

// Bytes that the smallest element of an array takes: what bounds its length.
std::uint64_t least_bytes(Kind kind) {
  constexpr std::array<std::uint64_t, kind_count> bytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return bytes[static_cast<std::size_t>(kind)];
}

class Cursor {
 public:
  Cursor(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }
  const std::string& path() const { return path_; }

  template <class T>
  T number(std::string_view what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::string text(std::string_view what) {
    const auto length = number<std::uint64_t>(what);
    need(length, what);
    const std::string_view found = bytes_.substr(at_, length);
    at_ += length;
    return std::string(found);
  }

  // A number of things of at least `least` bytes each.
  std::uint64_t count(std::uint64_t least, std::string_view what) {
    const std::uint64_t place = at_;
    const auto n = number<std::uint64_t>(what);
    check(n <= left() / least, "{}: byte {} counts {} {}, more than the {} bytes behind it can hold", path_, place, n,
          what, left());
    return n;
  }

 private:
  void need(std::uint64_t n, std::string_view what) const {
    check(n <= left(), "{}: at byte {} {} of {} bytes would begin, the file has {}; it is truncated or damaged", path_,
          at_, what, n, bytes_.size());
  }

  std::string_view bytes_;
  const std::string& path_;
  std::uint64_t at_ = 0;
};

Kind read_kind(Cursor& in) {
  const std::uint64_t place = in.at();
  const auto kind = in.number<std::uint32_t>("the type of a value");
  check(kind < kind_count, "{}: byte {} gives a value the unknown type {}", in.path(), place, kind);
  return static_cast<Kind>(kind);
}

// Every scalar but text.
GgufValue read_number(Cursor& in, Kind kind) {
  constexpr std::string_view what = "a value";
  switch (kind) {
    case Kind::u8:
      return std::uint64_t{in.number<std::uint8_t>(what)};
    case Kind::i8:
      return std::int64_t{in.number<std::int8_t>(what)};
    case Kind::u16:
      return std::uint64_t{in.number<std::uint16_t>(what)};
    case Kind::i16:
      return std::int64_t{in.number<std::int16_t>(what)};
    case Kind::u32:
      return std::uint64_t{in.number<std::uint32_t>(what)};
    case Kind::i32:
      return std::int64_t{in.number<std::int32_t>(what)};
    case Kind::f32:
      return double{in.number<float>(what)};
    case Kind::boolean:
      return in.number<std::uint8_t>(what) != 0;
    case Kind::u64:
      return in.number<std::uint64_t>(what);
    case Kind::i64:
      return in.number<std::int64_t>(what);
    default:
      return in.number<double>(what);
  }
}

GgufValue read_array(Cursor& in, const std::string& key) {
  const Kind kind = read_kind(in);
  check(kind != Kind::array, "{}: '{}' is an array of arrays (byte {}), which no known file has", in.path(), key,
        in.at());
  const std::uint64_t n = in.count(least_bytes(kind), "values");
  if (kind == Kind::text) {
    std::vector<std::string> texts;
    for (std::uint64_t i = 0; i < n; ++i) texts.push_back(in.text("a string"));
    return texts;
  }
  std::vector<double> numbers;
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto as_double = [](const auto& value) -> double {
      if constexpr (std::is_arithmetic_v<std::decay_t<decltype(value)>>) return static_cast<double>(value);
      return 0;
    };
    numbers.push_back(std::visit(as_double, read_number(in, kind)));
  }
  return numbers;
}

GgufValues read_values(Cursor& in, std::uint64_t count) {
  GgufValues values;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t place = in.at();
    const std::string key = in.text("a key");
    check(!key.empty() && is_utf8(key), "{}: the key at byte {} is not text", in.path(), place);
    const Kind kind = read_kind(in);
    GgufValue value = kind == Kind::text    ? GgufValue(in.text("a string"))
                      : kind == Kind::array ? read_array(in, key)
                                            : read_number(in, kind);
    check(values.emplace(key, std::move(value)).second, "{}: the key '{}' comes twice, again at byte {}", in.path(),
          key, place);
  }
  return values;
}

const GgufType* find_type(std::uint32_t id) {
  const auto found = std::ranges::find(types, id, &GgufType::id);
  return found == types.end() ? nullptr : &*found;
}

// Its begin is still relative to the data.
GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor;
  const std::uint64_t place = in.at();
  tensor.name = in.text("a tensor's name");
  check(!tensor.name.empty() && is_utf8(tensor.name), "{}: the name of the tensor at byte {} is not text", in.path(),
        place);
  const auto rank = in.number<std::uint32_t>("a number of dimensions");
  check(rank <= 4, "{}: tensor '{}' (byte {}) has {} dimensions, at most 4 are allowed", in.path(), tensor.name, place,
        rank);
  std::uint64_t elements = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    tensor.dims.push_back(in.number<std::uint64_t>("a dimension"));
    const bool possible = tensor.dims.back() > 0 && tensor.dims.back() <= std::uint64_t{1} << 48 &&
                          !__builtin_mul_overflow(elements, tensor.dims.back(), &elements) &&
                          elements <= std::uint64_t{1} << 56;
    check(possible, "{}: tensor '{}' (byte {}) has the impossible dimensions {}", in.path(), tensor.name, place,
          fmt::join(tensor.dims, " x "));
  }
  const auto type = in.number<std::uint32_t>("a type");
  tensor.type = find_type(type);
  check(tensor.type != nullptr, "{}: tensor '{}' (byte {}) is of type {}, which is not known; convert the file to Q8_0",
        in.path(), tensor.name, place, type);
  const std::uint64_t row = tensor.dims.empty() ? 1 : tensor.dims.front();
  check(row % tensor.type->block == 0, "{}: tensor '{}' (byte {}) has rows of {} elements, {} stores blocks of {}",
        in.path(), tensor.name, place, row, tensor.type->name, tensor.type->block);
  tensor.begin = in.number<std::uint64_t>("an offset");
  tensor.end = elements / tensor.type->block * tensor.type->bytes;  // how many, until place_tensors
  return tensor;
}

std::uint64_t read_alignment(const GgufValues& values, const std::string& path) {
  const auto found = values.find("general.alignment");
  if (found == values.end()) return 32;
  const auto* alignment = std::get_if<std::uint64_t>(&found->second);
  check(alignment && *alignment >= 8 && *alignment <= 1 << 20 && (*alignment & (*alignment - 1)) == 0,
        "{}: general.alignment is not a power of two from 8 to 1048576", path);
  return *alignment;
}

// Offsets in the data become bytes of the file. Each tensor begins where the one before it ends, aligned.
void place_tensors(std::vector<GgufTensor>& tensors, std::uint64_t header, std::uint64_t alignment, std::uint64_t size,
                   const std::string& path) {
  const auto aligned = [&](std::uint64_t n) { return (n + alignment - 1) / alignment * alignment; };
  const std::uint64_t data = aligned(header);
  std::ranges::stable_sort(tensors, {}, &GgufTensor::begin);
  std::uint64_t at = 0;
  for (GgufTensor& tensor : tensors) {
    check(tensor.begin == at, "{}: tensor '{}' has offset {} in the data; {} is where the tensors before it end: {}",
          path, tensor.name, tensor.begin, at,
          tensor.begin < at ? "it overlaps them" : "the bytes between belong to no tensor");
    const std::uint64_t bytes = tensor.end;
    check(data <= size && at <= size - data && bytes <= size - data - at,
          "{}: tensor '{}' of {} bytes would begin at byte {}, the file has {}; it is truncated, fetch it again", path,
          tensor.name, bytes, data + at, size);
    tensor.begin = data + at;
    tensor.end = tensor.begin + bytes;
    at = aligned(at + bytes);
  }
  const std::uint64_t end = std::max(tensors.empty() ? header : tensors.back().end, std::uint64_t{0});
  check(size <= aligned(end), "{}: {} bytes from byte {} on belong to no tensor", path, size - end, end);
}

}  // namespace

GgufHeader parse_gguf(std::string_view bytes, const std::string& path) {
  Cursor in(bytes, path);
  check(bytes.starts_with("GGUF"), "{} does not begin with \"GGUF\"; it is no GGUF file", path);
  in.number<std::uint32_t>("the magic number");
  GgufHeader header;
  header.version = in.number<std::uint32_t>("the version");
  check(header.version == 2 || header.version == 3,
        "{} is of GGUF version {}{}; versions 2 and 3, little-endian, can be read: convert it anew", path,
        header.version, (header.version & 0xFFFFU) == 0 ? " (big-endian)" : "");
  // A tensor takes 24 bytes at least (empty name, no dimensions), a pair 13.
  const std::uint64_t tensors = in.count(24, "tensors"), pairs = in.count(13, "key-value pairs");
  header.values = read_values(in, pairs);
  std::unordered_set<std::string> names;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    header.tensors.push_back(read_tensor(in));
    check(names.insert(header.tensors.back().name).second, "{}: there are two tensors named '{}', the second before {}",
          path, header.tensors.back().name, in.at());
  }
  place_tensors(header.tensors, in.at(), read_alignment(header.values, path), bytes.size(), path);
  return header;
}

}  // namespace skymm
