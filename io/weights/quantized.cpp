#include "io/weights/quantized.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr const char* key_prefix = "quantized.";

std::string_view type_in_file(DType type) {
  switch (type) {
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f16:
      return "F16";
    case DType::f64:
      return "F64";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::i32:
      return "I32";
    default:
      return "I64";
  }
}

std::string header_of(const std::vector<StreamedTensor>& plan, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  for (const StreamedTensor& x : plan) {
    check(!header.contains(x.name), "the name '{}' comes twice", x.name);
    const std::uint64_t bytes = static_cast<std::uint64_t>(x.shape.numel()) * size_of(x.dtype);
    header[x.name] = {{"dtype", type_in_file(x.dtype)},
                      {"shape", std::vector<std::int64_t>(x.shape.begin(), x.shape.end())},
                      {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

NamedTensors stored_tensors(const std::string& name, const Tensor& value, const QuantizedTensor& codes) {
  if (!codes.defined()) return {{name, value}};
  NamedTensors parts{{name + ".codes", codes.codes}, {name + ".scales", codes.scales}};
  if (codes.is_double()) {
    parts.emplace_back(name + ".scale_steps", codes.scale_steps);
    parts.emplace_back(name + ".scale_offset", codes.scale_offset);
  }
  return parts;
}

std::pair<std::string, std::string> quantized_metadata(const std::string& name, const QuantizedTensor& codes) {
  return {key_prefix + name, fmt::format("{} {}", name_of(codes.format), fmt::join(codes.shape, " "))};
}

bool has_quantized(const WeightSource& file, const std::string& name) {
  return file.metadata().contains(key_prefix + name);
}

std::vector<std::int64_t> weight_shape(const WeightSource& file, const std::string& name) {
  const auto entry = file.metadata().find(key_prefix + name);
  if (entry == file.metadata().end()) return file.entry(name).shape;
  std::istringstream text(entry->second);
  std::string format;
  text >> format;
  std::vector<std::int64_t> shape;
  for (std::int64_t dim = 0; text >> dim;) shape.push_back(dim);
  const WeightEntry& codes = file.entry(name + ".codes");
  const std::int64_t most = 2 * codes.row_elements();  // columns: two codes a byte
  bool fits = shape.size() >= 2 && shape.size() <= Shape::max_rank && shape[0] == codes.rows();
  std::int64_t columns = 1;
  for (std::size_t i = 1; fits && i < shape.size(); ++i) {
    fits = shape[i] > 0 && shape[i] <= most / columns;
    columns *= fits ? shape[i] : 1;
  }
  check(fits, "{}: '{}' is said to be of shape [{}], but its codes are {}", file.path(), name, fmt::join(shape, ", "),
        codes.shape_text());
  return shape;
}

QuantizedTensor read_quantized(const WeightSource& file, const std::string& name) {
  const auto entry = file.metadata().find(key_prefix + name);
  check(entry != file.metadata().end(), "{} has no quantised weight '{}'", file.path(), name);
  std::istringstream text(entry->second);
  std::string format;
  text >> format;
  check(format == "int8" || format == "nf4", "{}: '{}' is quantised as '{}'; only int8 and nf4 are known", file.path(),
        name, format);
  QuantizedTensor x{.format = format == "nf4" ? QuantizedFormat::nf4 : QuantizedFormat::int8};
  for (const std::int64_t dim : weight_shape(file, name)) x.shape.push_back(dim);
  x.codes = file.read(name + ".codes");
  x.scales = file.read(name + ".scales");
  if (file.contains(name + ".scale_steps")) {
    x.scale_steps = file.read(name + ".scale_steps");
    x.scale_offset = file.read(name + ".scale_offset");
  }
  check_layout(x, file.path() + ": " + name);
  return x;
}

std::vector<std::string> weight_names(const WeightSource& file) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const WeightEntry& entry : file.entries()) {
    const std::string stem = entry.name.substr(0, entry.name.rfind('.'));
    const std::string& name = has_quantized(file, stem) ? stem : entry.name;
    if (seen.insert(name).second) names.push_back(name);
  }
  return names;
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<StreamedTensor> plan,
                                     const std::map<std::string, std::string>& metadata)
    : path_(path), plan_(std::move(plan)), file_(path) {
  const std::string header = header_of(plan_, metadata);
  const std::uint64_t length = header.size();
  file_.write(&length, sizeof length);
  file_.write(header);
}

void SafetensorsWriter::write(const std::string& name, const Tensor& x) {
  check(next_ < plan_.size() && plan_[next_].name == name && plan_[next_].dtype == x.dtype() &&
            plan_[next_].shape == x.shape(),
        "{}: tensor '{}' {} {} is not what was to come next", path_, name, name_of(x.dtype()), x.shape());
  ++next_;
  const Tensor plain = x.contiguous();
  std::vector<char> host(plain.bytes());
  if (!host.empty()) plain.device().to_host(plain, host.data());
  file_.write(host.data(), host.size());
}

void SafetensorsWriter::commit() {
  check(next_ == plan_.size(), "{}: {} of {} tensors were written", path_, next_, plan_.size());
  file_.commit();
}

}  // namespace skymm
