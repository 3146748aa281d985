#include "io/checkpoint.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "core/error.hpp"
#include "io/checkpoint_header.hpp"
#include "io/hash.hpp"
#include "io/hdf5.hpp"

namespace skymm {
namespace {

using Json = nlohmann::json;

std::vector<std::uint64_t> read_u64(hid_t file, int fd, const std::string& name, const std::string& path) {
  const Hdf5Extent extent = hdf5_extent(file, name, sizeof(std::uint64_t));
  std::vector<std::uint64_t> values(static_cast<std::size_t>(extent.bytes) / sizeof(std::uint64_t));
  read_at(fd, values.data(), values.size() * sizeof(std::uint64_t), extent.offset, path);
  return values;
}

std::uint64_t read_header_attribute(hid_t file, const std::string& path) {
  std::uint64_t hash = 0;
  hdf5_read_number(file, "header_xxh64", H5T_NATIVE_UINT64, &hash, path);
  return hash;
}

// "a, b, c and 7 more"
std::string listed(const std::vector<std::string>& items) {
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < std::min(items.size(), most); ++i) text += (i == 0 ? "" : ", ") + items[i];
  if (items.size() > most) text += fmt::format(" and {} more", items.size() - most);
  return text;
}

std::vector<std::string> other_frozen(const std::map<std::string, std::uint64_t>& stored,
                                      const std::map<std::string, std::uint64_t>& expected) {
  std::vector<std::string> others;
  for (const auto& [part, hash] : expected) {
    const auto found = stored.find(part);
    if (found == stored.end()) {
      others.push_back(fmt::format("{} (the checkpoint was made without one)", part));
    } else if (found->second != hash) {
      others.push_back(fmt::format("{} ({:016x}, expected {:016x})", part, found->second, hash));
    }
  }
  for (const auto& [part, hash] : stored) {
    if (!expected.contains(part)) others.push_back(fmt::format("{} (this model has none)", part));
  }
  return others;
}

}  // namespace

class CheckpointFile::Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    check(fd_ >= 0, "cannot open the checkpoint {}: {}", path, std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

CheckpointFile::CheckpointFile(const std::string& path)
    : path_(path), bytes_(std::make_shared<const Descriptor>(path)) {
  try {
    read_structure();
  } catch (const Json::exception& error) {
    fail("the checkpoint {} is damaged: {}", path_, error.what());
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
}

void CheckpointFile::read_structure() {
  const std::lock_guard lock(hdf5_mutex());
  hdf5_reason();
  check(H5Fis_hdf5(path_.c_str()) > 0, "{} is not a checkpoint, or its beginning is lost", path_);
  Hdf5Handle handle(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose,
                    "the checkpoint " + path_ + " is truncated or damaged");
  const hid_t file = handle.get();
  const int fd = bytes_->fd();
  const bool has_attribute = H5Aexists(file, "header_xxh64") > 0;  // version 1
  check(H5Lexists(file, "header", H5P_DEFAULT) > 0 && (has_attribute || H5Lexists(file, "checksums", H5P_DEFAULT) > 0),
        "{} is an HDF5 file, but no skymm checkpoint", path_);
  const Hdf5Extent extent = hdf5_extent(file, "header", 1);
  std::string text(static_cast<std::size_t>(extent.bytes), '\0');
  read_at(fd, text.data(), text.size(), extent.offset, path_);
  const auto checksums =
      has_attribute ? std::vector{read_header_attribute(file, path_)} : read_u64(file, fd, "checksums", path_);
  check(!checksums.empty() && checksums[0] == hash64(text.data(), text.size()),
        "the checkpoint {} is damaged: its header does not have its checksum", path_);

  const Json header = Json::parse(text);
  check(header.at("format") == "skymm checkpoint", "{} is not a skymm checkpoint but '{}'", path_,
        header.at("format").dump());
  version_ = header.at("version").get<int>();
  check(version_ <= checkpoint_version, "the checkpoint {} has format {}, this skymm reads up to {}; use a newer skymm",
        path_, version_, checkpoint_version);
  info_ = checkpoint_info(header);
  tensors_ = checkpoint_tensors(header);

  std::size_t next = 1;
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    const StoredTensor& tensor = tensors_[t];
    auto& offsets = offsets_.emplace_back();
    auto& sums = checksums_.emplace_back();
    for (int array = 0; array < tensor.arrays(); ++array) {
      const auto a = static_cast<std::size_t>(array);
      const Hdf5Extent bytes = hdf5_extent(file, place(t, array), sizeof(float));
      check(bytes.bytes == tensor.shape.numel() * static_cast<std::int64_t>(sizeof(float)),
            "the checkpoint {} is damaged: '{}' has {} bytes, its shape is {}", path_, place(t, array), bytes.bytes,
            tensor.shape);
      offsets[a] = bytes.offset;
      if (version_ == 1) {
        sums[a] = {header.at("tensors").at(t).at("xxh64").at(checkpoint_arrays[a]).get<std::uint64_t>()};
        continue;
      }
      check(next + tensor.begins.size() <= checksums.size(), "the checkpoint {} is damaged: it lacks checksums", path_);
      sums[a].assign(checksums.begin() + static_cast<std::ptrdiff_t>(next),
                     checksums.begin() + static_cast<std::ptrdiff_t>(next + tensor.begins.size()));
      next += tensor.begins.size();
    }
  }
}

std::string CheckpointFile::text() const {
  Json all = {{"path", path_},
              {"version", version_},
              {"header", checkpoint_header(info_, tensors_)},
              {"offsets", offsets_},
              {"checksums", checksums_}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

CheckpointFile CheckpointFile::from_text(const std::string& text) {
  const Json all = Json::parse(text);
  CheckpointFile file;
  file.path_ = all.at("path");
  file.version_ = all.at("version");
  file.info_ = checkpoint_info(all.at("header"));
  file.tensors_ = checkpoint_tensors(all.at("header"));
  all.at("offsets").get_to(file.offsets_);
  all.at("checksums").get_to(file.checksums_);
  for (std::size_t i = 0; i < file.tensors_.size(); ++i) file.by_name_[file.tensors_[i].name] = i;
  file.bytes_ = std::make_shared<const Descriptor>(file.path_);
  return file;
}

std::string CheckpointFile::place(std::size_t tensor, int array) const {
  return checkpoint_place(tensors_[tensor].name, array);
}

std::size_t CheckpointFile::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  check(found != by_name_.end(), "{} has no tensor {}", path_, name);
  return found->second;
}

void CheckpointFile::read(std::size_t tensor, int array, std::int64_t begin, std::int64_t end, float* to) const {
  const StoredTensor& stored = tensors_.at(tensor);
  check(array >= 0 && array < stored.arrays() && begin >= 0 && end <= stored.shape.numel(),
        "{} has no elements {} to {} of '{}'", path_, begin, end, place(tensor, array));
  if (begin >= end) return;
  const auto a = static_cast<std::size_t>(array);
  std::vector<float> partly;  // a piece of which only a part is wanted
  const auto first = std::ranges::upper_bound(stored.begins, begin) - stored.begins.begin() - 1;
  for (auto piece = static_cast<std::size_t>(first); piece < stored.begins.size(); ++piece) {
    const std::int64_t from = stored.begins[piece], until = stored.end(piece);
    if (from >= end) break;
    const bool whole = from >= begin && until <= end;
    if (!whole) partly.resize(static_cast<std::size_t>(until - from));
    float* values = whole ? to + (from - begin) : partly.data();
    const std::size_t bytes = static_cast<std::size_t>(until - from) * sizeof(float);
    read_at(bytes_->fd(), values, bytes, offsets_[tensor][a] + from * static_cast<std::int64_t>(sizeof(float)), path_);
    check(hash64(values, bytes) == checksums_[tensor][a].at(piece),
          "the checkpoint {} is damaged: elements {} to {} of '{}' do not have their checksum", path_, from, until,
          place(tensor, array));
    if (whole) continue;
    const std::int64_t b = std::max(begin, from), e = std::min(end, until);
    std::copy(values + (b - from), values + (e - from), to + (b - begin));
  }
}

std::vector<float> CheckpointFile::read_whole(std::size_t tensor, int array) const {
  std::vector<float> values(static_cast<std::size_t>(tensors_.at(tensor).shape.numel()));
  read(tensor, array, 0, static_cast<std::int64_t>(values.size()), values.data());
  return values;
}

void CheckpointFile::verify() const {
  std::vector<float> values;
  for (std::size_t t = 0; t < tensors_.size(); ++t) {
    for (int array = 0; array < tensors_[t].arrays(); ++array) {
      for (std::size_t piece = 0; piece < tensors_[t].begins.size(); ++piece) {
        const std::int64_t begin = tensors_[t].begins[piece], end = tensors_[t].end(piece);
        values.resize(static_cast<std::size_t>(end - begin));
        read(t, array, begin, end, values.data());
      }
    }
  }
}

std::string checkpoint_differences(const CheckpointFile& checkpoint, const std::vector<ExpectedTensor>& expected,
                                   const std::map<std::string, std::uint64_t>& frozen) {
  std::map<std::string, Shape> stored;
  for (const StoredTensor& tensor : checkpoint.tensors()) stored[tensor.name] = tensor.shape;
  std::set<std::string> known;
  std::vector<std::string> missing, unexpected, other_shape;
  for (const ExpectedTensor& tensor : expected) {
    known.insert(tensor.name);
    const auto found = stored.find(tensor.name);
    if (found == stored.end()) {
      missing.push_back(fmt::format("{} {}", tensor.name, tensor.shape.str()));
    } else if (!(found->second == tensor.shape)) {
      other_shape.push_back(fmt::format("{} {}, expected {}", tensor.name, found->second.str(), tensor.shape.str()));
    }
  }
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (!known.contains(tensor.name)) unexpected.push_back(fmt::format("{} {}", tensor.name, tensor.shape.str()));
  }
  std::string text;
  const auto tell = [&](std::string_view what, const std::vector<std::string>& items) {
    if (!items.empty()) text += fmt::format("\n  {}: {}", what, listed(items));
  };
  tell("missing", missing);
  tell("unexpected", unexpected);
  tell("of another shape", other_shape);
  tell("made with other frozen weights", other_frozen(checkpoint.info().frozen, frozen));
  return text;
}

}  // namespace skymm
