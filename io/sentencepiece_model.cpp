#include "io/sentencepiece_model.hpp"

#include <cstdint>
#include <cstring>
#include <unordered_set>

#include "core/error.hpp"

namespace skymm {
namespace {

// The fields of a protocol buffer, one after the other (protobuf.dev/programming-guides/encoding).
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  bool next() {
    if (bytes_.empty()) return false;
    const std::uint64_t tag = varint();
    number = tag >> 3;
    value = {};
    switch (tag & 7) {
      case 0:
        varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        value = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        fail("{} is not a SentencePiece model: it is damaged; give the tokenizer.model of the LLM", path_);
    }
    return true;
  }

  std::uint64_t number = 0;
  std::string_view value;  // of a field that has a length: text, bytes or a message

 private:
  std::uint64_t varint() {
    std::uint64_t result = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      result |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    return result;
  }

  std::string_view take(std::uint64_t n) {
    check(n <= bytes_.size(), "{} is not a SentencePiece model: it is cut; give the tokenizer.model of the LLM", path_);
    const std::string_view taken = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return taken;
  }

  std::string_view bytes_;
  const std::string& path_;
};

// A double array (Aoe 1989, as github.com/s-yata/darts-clone stores it) behind its u32 size, then the texts that its
// values are offsets into. From unit i, the unit for a byte b is i ^ offset(i) ^ b.
void check_normalizer_table(std::string_view table, const std::string& path) {
  std::uint32_t size = 0;
  check(table.size() > sizeof size, "{}: the table of its normaliser is cut", path);
  std::memcpy(&size, table.data(), sizeof size);
  table.remove_prefix(sizeof size);
  check(size % 1024 == 0 && size > 0 && size < table.size() && table.back() == '\0',
        "{}: the table of its normaliser is damaged", path);
  const std::size_t units = size / sizeof(std::uint32_t), texts = table.size() - size;
  const auto unit = [&](std::size_t i) {
    std::uint32_t value = 0;
    std::memcpy(&value, table.data() + i * sizeof value, sizeof value);
    return value;
  };
  constexpr std::uint32_t value_bit = 1U << 31, leaf_bit = 1U << 8;
  for (std::size_t i = 0; i < units; ++i) {
    if ((unit(i) & value_bit) != 0) continue;
    const std::size_t to = i ^ (std::size_t{unit(i) >> 10} << ((unit(i) & (1U << 9)) >> 6));
    const bool inside = (to | 0xFF) < units && ((unit(i) & leaf_bit) == 0 || (unit(to) & ~value_bit) < texts);
    check(inside, "{}: the table of its normaliser points out of itself at unit {}", path, i);
  }
}

void check_normalizer(std::string_view spec, const std::string& path) {
  for (Fields fields(spec, path); fields.next();) {
    if (fields.number == 2 && !fields.value.empty()) check_normalizer_table(fields.value, path);
  }
}

}  // namespace

void check_sentencepiece_model(std::string_view bytes, const std::string& path) {
  std::unordered_set<std::string_view> pieces;
  for (Fields model(bytes, path); model.next();) {
    if (model.number == 3 || model.number == 5) check_normalizer(model.value, path);
    if (model.number != 1) continue;
    std::string_view piece;
    for (Fields fields(model.value, path); fields.next();) {
      if (fields.number == 1) piece = fields.value;
    }
    check(!piece.empty() && piece.find('\0') == std::string_view::npos && pieces.insert(piece).second,
          "{}: piece {} is empty, comes twice or holds a zero byte; the model is damaged", path, pieces.size());
  }
}

}  // namespace skymm
