#include "io/checkpoint.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/file.hpp"
#include "io/hash.hpp"
#include "io/hdf5.hpp"
#include "io/hdf5_image.hpp"

namespace skymm {
namespace {

using Json = nlohmann::json;
constexpr std::string_view format_name = "skymm checkpoint";
constexpr int format_version = 1;

// The arrays of a tensor, in the order of the file.
struct Role {
  const char* name;
  std::vector<float> CheckpointTensor::*values;
};
constexpr std::array<Role, 3> roles = {
    {{"value", &CheckpointTensor::value}, {"m", &CheckpointTensor::m}, {"v", &CheckpointTensor::v}}};

std::string place_of(const std::string& tensor, const char* role) { return fmt::format("tensors/{}/{}", tensor, role); }

std::uint64_t hash_of(const std::vector<float>& values) { return hash64(values.data(), values.size() * sizeof(float)); }

void check_tensors(const std::string& path, const Checkpoint& checkpoint) {
  std::unordered_set<std::string> names;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    check(!tensor.name.empty() && tensor.name.find('/') == std::string::npos && names.insert(tensor.name).second,
          "{}: the tensor name '{}' is empty, has a '/' or comes twice", path, tensor.name);
    const auto n = static_cast<std::size_t>(tensor.shape.numel());
    const bool moments = tensor.m.size() == n && tensor.v.size() == n;
    check(tensor.value.size() == n && (moments || (tensor.m.empty() && tensor.v.empty())),
          "{}: tensor '{}' of shape {} has {} values and {} and {} moments", path, tensor.name, tensor.shape.str(),
          tensor.value.size(), tensor.m.size(), tensor.v.size());
  }
}

std::string header_of(const Checkpoint& checkpoint) {
  Json header = {{"format", format_name},           {"version", format_version},
                 {"step", checkpoint.step},         {"seed", checkpoint.seed},
                 {"position", checkpoint.position}, {"frozen", checkpoint.frozen},
                 {"config", checkpoint.config},     {"code_version", checkpoint.code_version},
                 {"metrics", checkpoint.metrics},   {"tensors", Json::array()}};
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    Json entry = {{"name", tensor.name},
                  {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
                  {"moments", !tensor.m.empty()},
                  {"xxh64", Json::object()}};
    for (const Role& role : roles) entry["xxh64"][role.name] = hash_of(tensor.*role.values);
    header["tensors"].push_back(std::move(entry));
  }
  return header.dump(-1, ' ', false, Json::error_handler_t::replace);
}

struct Block {
  std::int64_t offset;
  const void* data;
  std::size_t bytes;
};

// Makes the file's structure and returns where the bytes of each array go.
std::vector<Block> make_structure(Hdf5Image& image, const Checkpoint& checkpoint, const std::string& header) {
  const std::string_view what = "making the structure of a checkpoint";
  std::vector<Block> blocks;
  const auto add = [&](const std::string& name, hid_t type, const void* data, std::size_t count, std::size_t bytes) {
    blocks.push_back({hdf5_allocate(image.file(), name, type, static_cast<std::int64_t>(count)), data, count * bytes});
  };
  add("header", H5T_STD_U8LE, header.data(), header.size(), 1);
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    for (const Role& role : roles) {
      const std::vector<float>& values = tensor.*role.values;
      if (&values != &tensor.value && values.empty()) continue;
      add(place_of(tensor.name, role.name), H5T_IEEE_F32LE, values.data(), values.size(), sizeof(float));
    }
  }
  Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose, what);
  Hdf5Handle attribute(H5Acreate2(image.file(), "header_xxh64", H5T_STD_U64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
                       H5Aclose, what);
  const std::uint64_t hash = hash64(header.data(), header.size());
  const bool written = H5Awrite(attribute.get(), H5T_NATIVE_UINT64, &hash) >= 0;
  check(written, "{}: {}", what, hdf5_reason());
  attribute.close(what);
  image.close();
  return blocks;
}

class ReadFile {
 public:
  explicit ReadFile(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    check(fd_ >= 0, "cannot open the checkpoint {}: {}", path, std::strerror(errno));
  }
  ~ReadFile() { ::close(fd_); }
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// The header's bytes, checked against their hash.
std::string read_header(const std::string& path, hid_t file, int fd) {
  check(H5Lexists(file, "header", H5P_DEFAULT) > 0 && H5Aexists(file, "header_xxh64") > 0,
        "{} is an HDF5 file, but no skymm checkpoint", path);
  const Hdf5Extent extent = hdf5_extent(file, "header", 1);
  std::string text(static_cast<std::size_t>(extent.bytes), '\0');
  read_at(fd, text.data(), text.size(), extent.offset, path);
  std::uint64_t hash = 0;
  hdf5_read_number(file, "header_xxh64", H5T_NATIVE_UINT64, &hash, path);
  check(hash == hash64(text.data(), text.size()), "the checkpoint {} is damaged: its header does not have its checksum",
        path);
  return text;
}

void read_values(const std::string& path, hid_t file, int fd, const Json& entry, const Role& role,
                 CheckpointTensor& tensor) {
  std::vector<float>& values = tensor.*role.values;
  values.resize(static_cast<std::size_t>(tensor.shape.numel()));
  const Hdf5Extent extent = hdf5_extent(file, place_of(tensor.name, role.name), sizeof(float));
  check(extent.bytes == static_cast<std::int64_t>(values.size() * sizeof(float)),
        "the checkpoint {} is damaged: '{}' has {} bytes, its shape is {}", path, place_of(tensor.name, role.name),
        extent.bytes, tensor.shape.str());
  read_at(fd, values.data(), values.size() * sizeof(float), extent.offset, path);
  check(hash_of(values) == entry.at("xxh64").at(role.name).get<std::uint64_t>(),
        "the checkpoint {} is damaged: '{}' does not have its checksum", path, place_of(tensor.name, role.name));
}

Checkpoint parse(const std::string& path, hid_t file, int fd) {
  const Json header = Json::parse(read_header(path, file, fd));
  check(header.at("format") == format_name, "{} is not a skymm checkpoint but '{}'", path, header.at("format").dump());
  const int version = header.at("version").get<int>();
  check(version <= format_version, "the checkpoint {} has format {}, this skymm reads up to {}; use a newer skymm",
        path, version, format_version);
  Checkpoint out{.step = header.at("step").get<std::int64_t>(),
                 .seed = header.at("seed").get<std::uint64_t>(),
                 .position = header.at("position").get<std::int64_t>(),
                 .frozen = header.at("frozen").get<std::map<std::string, std::uint64_t>>(),
                 .config = header.at("config").get<std::string>(),
                 .code_version = header.at("code_version").get<std::string>(),
                 .metrics = header.at("metrics").get<std::string>()};
  for (const Json& entry : header.at("tensors")) {
    CheckpointTensor tensor{.name = entry.at("name").get<std::string>()};
    for (const Json& dim : entry.at("shape")) tensor.shape.push_back(dim.get<std::int64_t>());
    for (const Role& role : roles) {
      const bool stored = role.values == &CheckpointTensor::value || entry.at("moments").get<bool>();
      if (stored) read_values(path, file, fd, entry, role, tensor);
    }
    out.tensors.push_back(std::move(tensor));
  }
  return out;
}

// "a, b, c and 7 more"
std::string listed(const std::vector<std::string>& items) {
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i) text += (i == 0 ? "" : ", ") + items[i];
  if (items.size() > most) text += fmt::format(" and {} more", items.size() - most);
  return text;
}

// The step in "step_00000042.h5", -1 for any other name.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view prefix = "step_", suffix = ".h5";
  if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) return -1;
  std::int64_t step = -1;
  const char* end = name.data() + name.size() - suffix.size();
  const auto [at, error] = std::from_chars(name.data() + prefix.size(), end, step);
  return error == std::errc() && at == end ? step : -1;
}

std::vector<std::pair<std::int64_t, std::string>> checkpoints_in(const std::string& folder) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::int64_t step = step_of(entry.path().filename().string());
    if (step >= 0) found.emplace_back(step, entry.path().string());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint) {
  check_tensors(path, checkpoint);
  const std::string header = header_of(checkpoint);
  AtomicFile file(path);
  const std::lock_guard lock(hdf5_mutex());
  Hdf5Image image;
  const std::vector<Block> blocks = make_structure(image, checkpoint, header);
  image.write_to(file.fd(), file.temporary());
  for (const Block& block : blocks) {
    write_at(file.fd(), block.data, block.bytes, block.offset, file.temporary());
  }
  file.commit();
}

Checkpoint load_checkpoint(const std::string& path) {
  const ReadFile bytes(path);
  const std::lock_guard lock(hdf5_mutex());
  hdf5_reason();
  check(H5Fis_hdf5(path.c_str()) > 0, "{} is not a checkpoint, or its beginning is lost", path);
  Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose,
                  "the checkpoint " + path + " is truncated or damaged");
  try {
    return parse(path, file.get(), bytes.fd());
  } catch (const Json::exception& error) {
    fail("the checkpoint {} is damaged: {}", path, error.what());
  }
}

void check_checkpoint(const Checkpoint& checkpoint, const std::string& path,
                      const std::vector<ExpectedTensor>& expected, const std::map<std::string, std::uint64_t>& frozen) {
  std::unordered_map<std::string, const CheckpointTensor*> stored;
  for (const CheckpointTensor& tensor : checkpoint.tensors) stored[tensor.name] = &tensor;
  std::vector<std::string> missing, unexpected, other_shape, other_weights;
  for (const ExpectedTensor& tensor : expected) {
    const auto found = stored.find(tensor.name);
    if (found == stored.end()) {
      missing.push_back(fmt::format("{} {}", tensor.name, tensor.shape.str()));
      continue;
    }
    const Shape& shape = found->second->shape;
    if (!(shape == tensor.shape)) {
      other_shape.push_back(fmt::format("{} {}, expected {}", tensor.name, shape.str(), tensor.shape.str()));
    }
    stored.erase(found);
  }
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    if (stored.contains(tensor.name)) unexpected.push_back(fmt::format("{} {}", tensor.name, tensor.shape.str()));
  }
  for (const auto& [part, hash] : frozen) {
    const auto found = checkpoint.frozen.find(part);
    if (found == checkpoint.frozen.end()) {
      other_weights.push_back(fmt::format("{} (the checkpoint was made without one)", part));
    } else if (found->second != hash) {
      other_weights.push_back(fmt::format("{} ({:016x}, expected {:016x})", part, found->second, hash));
    }
  }
  for (const auto& [part, hash] : checkpoint.frozen) {
    if (!frozen.contains(part)) other_weights.push_back(fmt::format("{} (this model has none)", part));
  }
  std::string text;
  const auto tell = [&](std::string_view what, const std::vector<std::string>& items) {
    if (!items.empty()) text += fmt::format("\n  {}: {}", what, listed(items));
  };
  tell("missing", missing);
  tell("unexpected", unexpected);
  tell("of another shape", other_shape);
  tell("made with other frozen weights", other_weights);
  check(text.empty(), "the checkpoint {} belongs to another model; give the config and weights it was made with:{}",
        path, text);
}

std::string checkpoint_path(const std::string& folder, std::int64_t step) {
  return (std::filesystem::path(folder) / fmt::format("step_{:08}.h5", step)).string();
}

std::optional<FoundCheckpoint> newest_checkpoint(const std::string& folder) {
  for (const auto& [step, path] : checkpoints_in(folder)) {
    try {
      return FoundCheckpoint{path, load_checkpoint(path)};
    } catch (const Error& error) {
      log::warn("passing over a checkpoint: {}", error.message());
    }
  }
  return std::nullopt;
}

void remove_old_checkpoints(const std::string& folder, int keep) {
  const auto found = checkpoints_in(folder);
  std::error_code ignored;
  for (std::size_t i = static_cast<std::size_t>(std::max(keep, 1)); i < found.size(); ++i) {
    std::filesystem::remove(found[i].second, ignored);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".tmp" && step_of(path.stem().string()) >= 0) std::filesystem::remove(path, ignored);
  }
}

}  // namespace skymm
