#include "io/weights/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>
#include <utility>

#include "core/error.hpp"
#include "io/file.hpp"

namespace skymm {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::uint64_t max_header = 100'000'000;

struct Kind {
  std::string_view name;
  std::size_t bytes;
  std::optional<DType> dtype;  // none: known, but Tensor has no such elements
};
constexpr std::array<Kind, 14> kinds = {{{"F64", 8, DType::f64},
                                         {"F32", 4, DType::f32},
                                         {"F16", 2, DType::f16},
                                         {"BF16", 2, DType::bf16},
                                         {"I64", 8, DType::i64},
                                         {"I32", 4, DType::i32},
                                         {"I8", 1, DType::i8},
                                         {"U8", 1, DType::u8},
                                         {"U64", 8, {}},
                                         {"U32", 4, {}},
                                         {"I16", 2, {}},
                                         {"U16", 2, {}},
                                         {"BOOL", 1, {}},
                                         {"F8_E4M3", 1, {}}}};

const Kind* find_kind(std::string_view name) {
  if (name == "F8_E5M2") name = "F8_E4M3";
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.name == name; });
  return kind == kinds.end() ? nullptr : &*kind;
}

std::string_view name_in_file(DType dtype) {
  return std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.dtype == dtype; })->name;
}

// Parses the header; refuses a name that comes twice (JSON readers differ in which of the two they take) and nesting
// that no header has.
Json parse_json(std::string_view text, const std::string& path) {
  std::unordered_set<std::string> names;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    check(depth <= 3, "{}: the header is nested too deeply; this is not a safetensors file", path);
    if (depth == 1 && event == Json::parse_event_t::key) {
      const auto name = value.get<std::string>();
      check(names.insert(name).second, "{}: the header has two tensors named '{}'", path, name);
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::parse_error& error) {
    fail("{}: the header is not JSON (byte {}: {}); the file is damaged or no safetensors file", path, error.byte + 8,
         error.what());
  }
}

std::optional<std::uint64_t> unsigned_of(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

// data: where the tensors begin in the file; size: the bytes from there on.
SafetensorsEntry parse_entry(const std::string& path, const std::string& name, const Json& value, std::uint64_t data,
                             std::uint64_t size) {
  const auto field = [&](const char* key) -> const Json& {
    static const Json none;
    return value.is_object() && value.contains(key) ? value[key] : none;
  };
  const Json &dtype = field("dtype"), &shape = field("shape"), &offsets = field("data_offsets");
  check(dtype.is_string() && shape.is_array() && offsets.is_array() && offsets.size() == 2,
        "{}: the header's entry '{}' lacks dtype, shape or data_offsets", path, name);
  SafetensorsEntry entry{.name = name, .dtype = dtype.get<std::string>()};
  const Kind* kind = find_kind(entry.dtype);
  check(kind, "{}: tensor '{}' has the unknown dtype '{}'", path, name, entry.dtype);
  std::uint64_t bytes = kind->bytes;
  for (const Json& dim : shape) {
    const auto n = unsigned_of(dim);
    check(n && *n <= std::uint64_t{1} << 48 && !__builtin_mul_overflow(bytes, *n, &bytes),
          "{}: tensor '{}' has the impossible shape {}", path, name, shape.dump());
    entry.shape.push_back(static_cast<std::int64_t>(*n));
  }
  const auto begin = unsigned_of(offsets[0]), end = unsigned_of(offsets[1]);
  check(begin && end && *begin <= *end, "{}: tensor '{}' has the impossible data_offsets {}", path, name,
        offsets.dump());
  check(*end <= size, "{}: tensor '{}' ends at byte {}, the file has {}; it is truncated, fetch it again", path, name,
        data + *end, data + size);
  check(*end - *begin == bytes, "{}: tensor '{}' of {} {} takes {} bytes, its data_offsets {} hold {}", path, name,
        entry.dtype, shape.dump(), bytes, offsets.dump(), *end - *begin);
  entry.begin = data + *begin;
  entry.end = data + *end;
  return entry;
}

// No overlap and no holes: what no tensor shows could hide anything.
void check_layout(const std::string& path, const std::vector<SafetensorsEntry>& entries, std::uint64_t data,
                  std::uint64_t size) {
  std::uint64_t at = data;
  const SafetensorsEntry* before = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    check(entry.begin >= at, "{}: tensor '{}' at byte {} overlaps '{}', which ends at {}", path, entry.name,
          entry.begin, before ? before->name : "", at);
    check(entry.begin == at, "{}: the bytes from {} to {}, before tensor '{}', belong to no tensor", path, at,
          entry.begin, entry.name);
    at = entry.end;
    before = &entry;
  }
  check(at == size, "{}: {} bytes from byte {} on belong to no tensor", path, size - at, at);
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd >= 0, "cannot open {}: {}", path, std::strerror(errno));
  struct stat status {};
  const bool file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  size_ = file ? static_cast<std::uint64_t>(status.st_size) : 0;
  void* mapped = size_ >= 8 ? ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  const int reason = errno;
  ::close(fd);
  check(file, "{} is not a file", path);
  check(size_ >= 8, "{}: the file has {} bytes; a safetensors file starts with 8 bytes of header length", path, size_);
  check(mapped != MAP_FAILED, "cannot map {}: {}", path, std::strerror(reason));
  bytes_ = static_cast<const char*>(mapped);
  try {
    parse();
  } catch (...) {
    ::munmap(mapped, size_);
    throw;
  }
}

SafetensorsReader::SafetensorsReader(SafetensorsReader&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, nullptr)),
      size_(other.size_),
      entries_(std::move(other.entries_)),
      index_(std::move(other.index_)),
      metadata_(std::move(other.metadata_)) {}

SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(size_, other.size_);
  std::swap(entries_, other.entries_);
  std::swap(index_, other.index_);
  std::swap(metadata_, other.metadata_);
  return *this;
}

SafetensorsReader::~SafetensorsReader() {
  if (bytes_) ::munmap(const_cast<char*>(bytes_), size_);
}

void SafetensorsReader::parse() {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes_, sizeof length);
  check(length <= max_header, "{}: the header would have {} bytes, at most {} are allowed; this is no safetensors file",
        path_, length, max_header);
  check(length <= size_ - 8, "{}: the header would end at byte {}, the file has {}; it is truncated, fetch it again",
        path_, length + 8, size_);
  const std::uint64_t data = length + 8;
  const Json header = parse_json({bytes_ + 8, length}, path_);
  check(header.is_object(), "{}: the header is not a JSON object", path_);
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(path_, name, value, data, size_ - data));
      continue;
    }
    check(value.is_object(), "{}: __metadata__ is not a JSON object", path_);
    for (const auto& [key, text] : value.items()) {
      check(text.is_string(), "{}: __metadata__ '{}' is not a string", path_, key);
      metadata_[key] = text.get<std::string>();
    }
  }
  std::stable_sort(entries_.begin(), entries_.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_layout(path_, entries_, data, size_);
  for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const SafetensorsEntry& SafetensorsReader::entry(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "{} has no tensor '{}' among its {} ('{}', ...)", path_, name, entries_.size(),
        entries_.empty() ? "" : entries_.front().name);
  return entries_[found->second];
}

Tensor SafetensorsReader::read(const std::string& name, Device& device) const {
  const SafetensorsEntry& from = entry(name);
  const auto dtype = find_kind(from.dtype)->dtype;
  check(dtype.has_value(), "{}: tensor '{}' is of {}, which cannot be computed with; convert it to F32, BF16 or I32",
        path_, name, from.dtype);
  check(from.shape.size() <= Shape::max_rank, "{}: tensor '{}' has {} dimensions, at most {} are possible", path_, name,
        from.shape.size(), Shape::max_rank);
  Shape shape;
  for (const std::int64_t dim : from.shape) shape.push_back(dim);
  Tensor x = Tensor::empty(shape, *dtype, device);
  if (from.end > from.begin) device.from_host(bytes_ + from.begin, x);
  return x;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  std::unordered_set<std::string> names;
  for (const auto* entry : order) {
    const auto& [name, x] = *entry;
    check(name != "__metadata__" && names.insert(name).second, "cannot write {}: the name '{}' comes twice", path,
          name);
    header[name] = {{"dtype", name_in_file(x.dtype())},
                    {"shape", std::vector<std::int64_t>(x.shape().begin(), x.shape().end())},
                    {"data_offsets", {at, at + x.bytes()}}};
    at += x.bytes();
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check(text.size() <= max_header, "cannot write {}: its header of {} bytes is too large for the format", path,
        text.size());
  AtomicFile file(path);
  const std::uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text);
  std::vector<char> host;
  for (const auto* entry : order) {
    host.resize(entry->second.bytes());
    const Tensor plain = entry->second.contiguous();
    if (!host.empty()) plain.device().to_host(plain, host.data());
    file.write(host.data(), host.size());
  }
  file.commit();
}

}  // namespace skymm
