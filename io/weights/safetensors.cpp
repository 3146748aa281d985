#include "io/weights/safetensors.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <tuple>
#include <unordered_set>

#include "core/error.hpp"
#include "core/progress.hpp"
#include "io/file.hpp"
#include "io/json.hpp"

namespace skymm {
namespace {

using Json = nlohmann::json;
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

std::optional<std::uint64_t> unsigned_of(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

// data: where the tensors begin in the file; size: the bytes from there on.
WeightEntry parse_entry(const std::string& path, const std::string& name, const Json& value, std::uint64_t data,
                        std::uint64_t size) {
  const auto field = [&](const char* key) -> const Json& {
    static const Json none;
    return value.is_object() && value.contains(key) ? value[key] : none;
  };
  const Json &dtype = field("dtype"), &shape = field("shape"), &offsets = field("data_offsets");
  check(dtype.is_string() && shape.is_array() && offsets.is_array() && offsets.size() == 2,
        "{}: the header's entry '{}' lacks dtype, shape or data_offsets", path, name);
  WeightEntry entry{.name = name, .dtype = dtype.get<std::string>()};
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
void check_layout(const std::string& path, const std::vector<WeightEntry>& entries, std::uint64_t data,
                  std::uint64_t size) {
  std::uint64_t at = data;
  const WeightEntry* before = nullptr;
  for (const WeightEntry& entry : entries) {
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

SafetensorsReader::SafetensorsReader(const std::string& path) : WeightSource(path), file_(path) {
  const std::uint64_t size = file_.size();
  check(size >= 8, "{}: the file has {} bytes; a safetensors file starts with 8 bytes of header length", path, size);
  std::uint64_t length = 0;
  std::memcpy(&length, file_.data(), sizeof length);
  check(length <= max_header, "{}: the header would have {} bytes, at most {} are allowed; this is no safetensors file",
        path, length, max_header);
  check(length <= size - 8, "{}: the header would end at byte {}, the file has {}; it is truncated, fetch it again",
        path, length + 8, size);
  const std::uint64_t data = length + 8;
  const Json header = parse_json(file_.bytes().substr(8, length), path + ": the header", {.depth = 3, .offset = 8});
  check(header.is_object(), "{}: the header is not a JSON object", path);
  std::vector<WeightEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      read_metadata(value);
    } else {
      entries.push_back(parse_entry(path, name, value, data, size - data));
    }
  }
  std::ranges::sort(entries, {},
                    [](const WeightEntry& e) { return std::tuple(e.begin, e.end, std::string_view(e.name)); });
  check_layout(path, entries, data, size);
  set_entries(std::move(entries));
}

void SafetensorsReader::read_metadata(const Json& value) {
  check(value.is_object(), "{}: __metadata__ is not a JSON object", path());
  for (const auto& [key, text] : value.items()) {
    check(text.is_string(), "{}: __metadata__ '{}' is not a string", path(), key);
    metadata_[key] = text.get<std::string>();
  }
}

std::string_view SafetensorsReader::stored(const WeightEntry& entry) const {
  return file_.bytes().substr(entry.begin, entry.end - entry.begin);
}

DType SafetensorsReader::values_dtype(const WeightEntry& entry) const {
  const auto dtype = find_kind(entry.dtype)->dtype;
  check(dtype.has_value(), "{}: tensor '{}' is of {}, which cannot be computed with; convert it to F32, BF16 or I32",
        path(), entry.name, entry.dtype);
  return *dtype;
}

const void* SafetensorsReader::rows(const WeightEntry& entry, std::int64_t begin, std::int64_t,
                                    std::vector<char>&) const {
  const std::uint64_t row = entry.rows() > 0 ? (entry.end - entry.begin) / static_cast<std::uint64_t>(entry.rows()) : 0;
  return file_.data() + entry.begin + static_cast<std::uint64_t>(begin) * row;
}

void SafetensorsReader::release(const WeightEntry&, std::uint64_t begin, std::uint64_t end) const {
  file_.release(begin, end);
}

void stream_safetensors(const std::string& path, const std::vector<PlannedTensor>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<const PlannedTensor*> order;
  for (const PlannedTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::stable_sort(order, std::greater(), [](const PlannedTensor* x) { return size_of(x->dtype); });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();  // in the order of the bytes
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  std::unordered_set<std::string> names;
  for (const PlannedTensor* x : order) {
    check(x->name != "__metadata__" && names.insert(x->name).second, "cannot write {}: the name '{}' comes twice", path,
          x->name);
    const std::uint64_t bytes = static_cast<std::uint64_t>(x->shape.numel()) * size_of(x->dtype);
    header[x->name] = {{"dtype", name_in_file(x->dtype)},
                       {"shape", std::vector<std::int64_t>(x->shape.begin(), x->shape.end())},
                       {"data_offsets", {at, at + bytes}}};
    at += bytes;
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
  for (const PlannedTensor* planned : order) {
    const Tensor x = planned->make().contiguous();
    check(x.dtype() == planned->dtype && x.shape() == planned->shape, "cannot write {}: '{}' became {} of {}", path,
          planned->name, x.shape(), name_of(x.dtype()));
    host.resize(x.bytes());
    if (!host.empty()) x.device().to_host(x, host.data());
    file.write(host.data(), host.size());
    made_progress();
  }
  file.commit();
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<PlannedTensor> planned;
  for (const auto& [name, x] : tensors) planned.push_back({name, x.dtype(), x.shape(), [x = x] { return x; }});
  stream_safetensors(path, planned, metadata);
}

}  // namespace skymm
