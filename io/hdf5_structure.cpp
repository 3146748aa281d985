#include "io/hdf5_structure.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace skymm {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t nowhere = ~std::uint64_t{0};
constexpr int most_levels = 8, most_chunks = 64, most_messages = 4096, most_nodes = 1 << 16;
constexpr std::size_t most_objects = 1 << 20;
constexpr std::uint64_t largest_block = std::uint64_t{64} << 20;  // names of a group

// Types of messages in an object's header.
enum Message : std::uint16_t {
  dataspace = 0x01,
  datatype = 0x03,
  layout = 0x08,
  attribute = 0x0C,
  continuation = 0x10,
  symbol_table = 0x11
};

struct Group {
  std::uint64_t tree = nowhere, heap = nowhere;
};

// What the messages of an object's header say.
struct Object {
  std::optional<Group> group;
  std::optional<std::uint64_t> elements, element_bytes;  // of an array of one dimension
  std::uint64_t address = nowhere, bytes = 0;
  bool contiguous = false;
  std::map<std::string, std::uint64_t> attributes;
};

// Some of the file's bytes and where they begin; reading past their end is an Error.
class Block {
 public:
  Block(std::string bytes, std::uint64_t begin, const std::string& what)
      : bytes_(std::move(bytes)), begin_(begin), what_(what) {}

  template <class T>
  T number(std::uint64_t at) const {
    T value;
    std::memcpy(&value, view(at, sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view view(std::uint64_t at, std::uint64_t n) const {
    check(at <= bytes_.size() && n <= bytes_.size() - at,
          "{}: its structure is damaged at byte {}; copy or make it again", what_, begin_ + at);
    return std::string_view(bytes_).substr(at, n);
  }
  // Text up to its zero byte.
  std::string text(std::uint64_t at) const {
    const std::string_view rest = view(at, bytes_.size() - std::min<std::uint64_t>(at, bytes_.size()));
    const std::size_t end = rest.find('\0');
    expect(end != std::string_view::npos && end > 0, at);
    return std::string(rest.substr(0, end));
  }
  void expect(bool ok, std::uint64_t at) const {
    check(ok, "{}: its structure is damaged at byte {}; copy or make it again", what_, begin_ + at);
  }
  std::uint64_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
  std::uint64_t begin_;
  const std::string& what_;
};

class Reader {
 public:
  Reader(int fd, const std::string& what) : fd_(fd), what_(what) {
    struct stat status {};
    check(::fstat(fd, &status) == 0 && S_ISREG(status.st_mode), "{} is not a file", what);
    size_ = static_cast<std::uint64_t>(status.st_size);
  }

  std::uint64_t size() const { return size_; }

  Block block(std::uint64_t begin, std::uint64_t n) const {
    check(begin <= size_ && n <= size_ - begin,
          "{} has {} bytes and should go on to byte {}: it is truncated or damaged; copy or make it again", what_,
          size_, begin <= nowhere - n ? begin + n : nowhere);
    check(n <= largest_block, "{}: its structure is damaged at byte {}; copy or make it again", what_, begin);
    std::string bytes(n, '\0');
    read_at(fd_, bytes.data(), bytes.size(), static_cast<std::int64_t>(begin), what_);
    return {std::move(bytes), begin, what_};
  }

  // Where the header of the file's root is.
  std::uint64_t root() const {
    check(size_ >= 8 && block(0, 8).view(0, 8) == "\x89HDF\r\n\x1a\n"sv,
          "{} is not an HDF5 file; give one made by `skymm data build` or `skymm data import`", what_);
    const Block super = block(0, 96);
    const auto byte = [&](std::uint64_t at) { return super.number<std::uint8_t>(at); };
    check(byte(8) == 0 && byte(13) == 8 && byte(14) == 8 && super.number<std::uint64_t>(24) == 0,
          "{} is an HDF5 file, but not as skymm writes them (superblock {}); copy or make it again", what_, byte(8));
    const auto end = super.number<std::uint64_t>(40);
    check(end <= size_, "{} has {} bytes of {}: it is truncated; copy or make it again", what_, size_, end);
    return super.number<std::uint64_t>(64);
  }

  Object object(std::uint64_t header) const {
    const Block prefix = block(header, 16);
    prefix.expect(prefix.number<std::uint8_t>(0) == 1, 0);
    Object object;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> chunks = {{header + 16, prefix.number<std::uint32_t>(8)}};
    int messages = 0;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      prefix.expect(chunks.size() <= most_chunks, 0);
      const Block chunk = block(chunks[i].first, chunks[i].second);
      for (std::uint64_t at = 0; at + 8 <= chunk.size();) {
        const auto type = chunk.number<std::uint16_t>(at), bytes = chunk.number<std::uint16_t>(at + 2);
        chunk.expect(++messages <= most_messages, at);
        const Block body(std::string(chunk.view(at + 8, bytes)), chunks[i].first + at + 8, what_);
        if (type == continuation) {
          chunks.emplace_back(body.number<std::uint64_t>(0), body.number<std::uint64_t>(8));
        } else {
          read_message(type, body, object);
        }
        at += 8 + std::uint64_t{bytes};
      }
    }
    return object;
  }

  // Adds the members of a group, with `prefix` in front of their names.
  void members(const Group& group, const std::string& prefix, std::map<std::string, std::uint64_t>& found) const {
    const Block heap = block(group.heap, 32);
    heap.expect(heap.view(0, 4) == "HEAP"sv && heap.number<std::uint8_t>(4) == 0, 0);
    const Block names = block(heap.number<std::uint64_t>(24), heap.number<std::uint64_t>(8));
    int nodes = 0;
    walk(group.tree, most_levels, nodes, [&](const Block& node) {
      const auto count = node.number<std::uint16_t>(6);
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t at = 8 + 40 * i;
        const std::string name = prefix + names.text(node.number<std::uint64_t>(at));
        node.expect(found.emplace(name, node.number<std::uint64_t>(at + 8)).second && found.size() <= most_objects, at);
      }
    });
  }

 private:
  // A dataspace: its elements, where it has at most one dimension.
  static std::optional<std::uint64_t> elements_of(const Block& body) {
    const auto version = body.number<std::uint8_t>(0), dimensions = body.number<std::uint8_t>(1);
    body.expect(version == 1 || version == 2, 0);
    if (dimensions > 1) return std::nullopt;
    return dimensions == 0 ? 1 : body.number<std::uint64_t>(version == 1 ? 8 : 4);
  }

  static bool is_integer(const Block& type) {
    return (type.number<std::uint8_t>(0) & 0x0F) == 0 && (type.number<std::uint8_t>(1) & 1) == 0;  // little-endian
  }

  void read_message(std::uint16_t type, const Block& body, Object& object) const {
    if (type == symbol_table) {
      object.group = Group{body.number<std::uint64_t>(0), body.number<std::uint64_t>(8)};
    } else if (type == dataspace) {
      object.elements = elements_of(body);
    } else if (type == datatype) {
      if (is_integer(body) || (body.number<std::uint8_t>(0) & 0x0F) == 1) {
        object.element_bytes = body.number<std::uint32_t>(4);
      }
    } else if (type == layout) {
      object.contiguous = body.number<std::uint8_t>(0) == 3 && body.number<std::uint8_t>(1) == 1;
      if (!object.contiguous) return;
      object.address = body.number<std::uint64_t>(2);
      object.bytes = body.number<std::uint64_t>(10);
    } else if (type == attribute) {
      read_attribute(body, object);
    }
  }

  // Version 1: its name, type and space, each padded to eight bytes, then the value.
  void read_attribute(const Block& body, Object& object) const {
    if (body.number<std::uint8_t>(0) != 1) return;
    const auto padded = [](std::uint64_t n) { return (n + 7) / 8 * 8; };
    const std::uint64_t type_at = 8 + padded(body.number<std::uint16_t>(2)),
                        space_at = type_at + padded(body.number<std::uint16_t>(4)),
                        value_at = space_at + padded(body.number<std::uint16_t>(6));
    const Block type(std::string(body.view(type_at, 8)), type_at, what_);
    const Block space(std::string(body.view(space_at, value_at - space_at)), space_at, what_);
    const auto bytes = type.number<std::uint32_t>(4);
    if (!is_integer(type) || (bytes != 4 && bytes != 8) || elements_of(space) != 1) return;
    object.attributes[body.text(8)] =
        bytes == 4 ? body.number<std::uint32_t>(value_at) : body.number<std::uint64_t>(value_at);
  }

  // Visits the symbol nodes below a node of a group's B-tree.
  template <class Visit>
  void walk(std::uint64_t address, int levels, int& nodes, Visit&& visit) const {
    const Block start = block(address, 8);
    start.expect(++nodes <= most_nodes, 0);  // nodes that many lead to are visited as often
    if (start.view(0, 4) == "SNOD"sv) {
      return visit(block(address, 8 + 40 * std::uint64_t{start.number<std::uint16_t>(6)}));
    }
    start.expect(levels > 0 && start.view(0, 4) == "TREE"sv && start.number<std::uint8_t>(4) == 0, 0);
    const std::uint64_t children = start.number<std::uint16_t>(6);
    const Block node = block(address, 24 + 16 * children + 8);
    // Deeper nodes first say how deep: a node that leads to itself or upwards is none of its level.
    const int level = start.number<std::uint8_t>(5);
    start.expect(level < levels, 5);
    for (std::uint64_t i = 0; i < children; ++i) walk(node.number<std::uint64_t>(32 + 16 * i), level, nodes, visit);
  }

  int fd_;
  const std::string& what_;
  std::uint64_t size_ = 0;
};

}  // namespace

Hdf5Structure::Hdf5Structure(int fd, std::string what) : fd_(fd), what_(std::move(what)) {
  const Reader reader(fd, what_);
  const Object root = reader.object(reader.root());
  check(root.group.has_value(), "{}: its structure is damaged, the root is no group; copy or make it again", what_);
  attributes_ = root.attributes;
  std::map<std::string, std::uint64_t> first;
  reader.members(*root.group, "", first);
  objects_ = first;
  for (const auto& [name, header] : first) {
    if (const auto group = reader.object(header).group) reader.members(*group, name + "/", objects_);
  }
}

Hdf5Extent Hdf5Structure::extent(const std::string& name, std::size_t element_bytes) const {
  const auto found = objects_.find(name);
  check(found != objects_.end(), "{} has no array {}; copy or make it again", what_, name);
  const Reader reader(fd_, what_);
  const Object array = reader.object(found->second);
  check(array.contiguous && array.elements && array.element_bytes, "{}: {} is no contiguous array of one dimension",
        what_, name);
  check(*array.element_bytes == element_bytes, "{}: {} has elements of {} bytes, expected {}", what_, name,
        *array.element_bytes, element_bytes);
  if (*array.elements == 0) return {};
  check(*array.elements <= array.bytes / element_bytes && array.address <= reader.size() &&
            array.bytes <= reader.size() - array.address,
        "{}: {} of {} elements at byte {} does not fit the file's {} bytes; it is truncated or damaged", what_, name,
        *array.elements, array.address, reader.size());
  return {static_cast<std::int64_t>(array.address), static_cast<std::int64_t>(*array.elements * element_bytes)};
}

std::uint64_t Hdf5Structure::attribute(const std::string& name) const {
  const auto found = attributes_.find(name);
  check(found != attributes_.end(), "{} has no attribute {}", what_, name);
  return found->second;
}

}  // namespace skymm
