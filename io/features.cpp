#include "io/features.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/crc32c.hpp"
#include "io/hdf5_image.hpp"
#include "io/hdf5_structure.hpp"
#include "io/manifest.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr std::string_view format = "skymm features";
constexpr int version = 1;
constexpr const char* checksums_name = "features/crc32c";
constexpr const char* values_name = "features/values";

std::string header_of(const FeatureInfo& info) {
  return json{{"format", format},        {"version", version},     {"pictures", info.pictures},
              {"rows", info.rows},       {"width", info.width},    {"dtype", name_of(info.dtype)},
              {"dataset", info.dataset}, {"made_by", info.made_by}}
      .dump();
}

FeatureInfo parse_header(const std::string& text, const std::string& what) {
  const json header = json::parse(text);
  check(header.value("format", "") == format, "{} is HDF5, but holds no features", what);
  const int found = header.at("version");
  check(found >= 1 && found <= version, "{} has format version {}, this skymm reads up to {}", what, found, version);
  FeatureInfo info{.pictures = header.at("pictures"),
                   .rows = header.at("rows"),
                   .width = header.at("width"),
                   .dtype = parse_dtype(header.at("dtype").get<std::string>()),
                   .dataset = header.at("dataset"),
                   .made_by = header.at("made_by").get<std::map<std::string, std::string>>()};
  constexpr std::int64_t most = std::int64_t{1} << 20;
  const bool sane = info.rows > 0 && info.rows < most && info.width > 0 && info.width < most &&
                    (info.dtype == DType::bf16 || info.dtype == DType::f32) && info.pictures >= 0 &&
                    info.pictures <= (std::int64_t{1} << 60) / info.picture_bytes();
  check(sane, "{}: the header says what cannot be; encode again", what);
  return info;
}

void write_checksum(hid_t file, std::uint32_t crc, std::string_view what) {
  const Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose, what);
  const Hdf5Handle attribute(H5Acreate2(file, "header_crc32c", H5T_STD_U32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose, what);
  const bool written = H5Awrite(attribute.get(), H5T_NATIVE_UINT32, &crc) >= 0;
  check(written, "{}: {}", what, hdf5_reason());
}

}  // namespace

std::string features_path(const std::string& dataset) {
  namespace fs = std::filesystem;
  const fs::path path = fs::is_directory(dataset) ? fs::path(dataset) / manifest_name : fs::path(dataset);
  return fs::path(path).replace_extension(".features.h5").string();
}

std::string feature_differences(const FeatureInfo& stored, const FeatureInfo& wanted) {
  const auto settings = [](const FeatureInfo& info) {
    std::map<std::string, std::string> all = info.made_by;
    all["dtype"] = name_of(info.dtype);
    all["features of a picture"] = fmt::format("{} x {}", info.rows, info.width);
    all["pictures"] = std::to_string(info.pictures);
    all["data set"] = fmt::format("{:016x}", info.dataset);
    return all;
  };
  const auto before = settings(stored), now = settings(wanted);
  std::string differences;
  for (const auto& [name, value] : now) {
    const auto found = before.find(name);
    const std::string old = found == before.end() ? "nothing" : found->second;
    if (old != value) differences += fmt::format("\n  {}: {} when they were encoded, {} now", name, old, value);
  }
  return differences;
}

void create_features(const std::string& path, const FeatureInfo& info) {
  const std::string what = "making " + path, header = header_of(info);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  check(fd >= 0, "{}: {}", what, std::strerror(errno));
  try {
    const std::scoped_lock lock(hdf5_mutex());
    Hdf5Image image;
    const std::int64_t place = hdf5_allocate(image.file(), "header", H5T_STD_U8LE, std::ssize(header));
    write_checksum(image.file(), crc32c(header), what);
    hdf5_allocate(image.file(), checksums_name, H5T_STD_U32LE, info.pictures);
    const std::int64_t elements = info.pictures * info.rows * info.width;
    hdf5_allocate(image.file(), values_name, info.dtype == DType::bf16 ? H5T_STD_U16LE : H5T_IEEE_F32LE, elements);
    image.close();
    image.write_to(fd, what);
    write_at(fd, header.data(), header.size(), place, what);
    const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(image.bytes()));
    check(error == 0, "{}: {}; free some space or choose another folder", what, std::strerror(error));
  } catch (...) {
    ::close(fd);
    ::unlink(path.c_str());
    throw;
  }
  ::close(fd);
}

Features::Features(std::string path, Access access)
    : path_(std::move(path)), what_("features " + path_), file_(path_, access == Access::write) {
  const Hdf5Structure file(file_.fd(), what_);
  check(file.has("header") && file.has_attribute("header_crc32c"), "{} is HDF5, but holds no features", what_);
  const Hdf5Extent place = file.extent("header", 1);
  std::string text(static_cast<std::size_t>(place.bytes), '\0');
  read_at(file_.fd(), text.data(), text.size(), place.offset, what_);
  check(file.attribute("header_crc32c") == crc32c(text), "{}: the header is damaged; encode again", what_);
  try {
    info_ = parse_header(text, what_);
  } catch (const json::exception& error) {
    fail("{}: the header says what cannot be ({}); encode again", what_, error.what());
  }
  const Hdf5Extent checksums = file.extent(checksums_name, 4), values = file.extent(values_name, size_of(info_.dtype));
  check(checksums.bytes == 4 * info_.pictures && values.bytes == info_.pictures * info_.picture_bytes(),
        "{}: the arrays do not fit the header; encode again", what_);
  checksums_ = checksums.offset;
  values_ = values.offset;
}

std::string Features::read(std::int64_t picture) const {
  check(picture >= 0 && picture < info_.pictures, "{}: there is no picture {} of {}", what_, picture, info_.pictures);
  std::string bytes(static_cast<std::size_t>(info_.picture_bytes()), '\0');
  std::uint32_t crc = 0;
  read_at(file_.fd(), bytes.data(), bytes.size(), values_ + picture * info_.picture_bytes(), what_);
  read_at(file_.fd(), &crc, sizeof crc, checksums_ + 4 * picture, what_);
  check(crc32c(bytes) == crc, "{}: picture {} has no features, or damaged ones", what_, picture);
  return bytes;
}

void Features::write(std::int64_t picture, std::string_view bytes) {
  check(picture >= 0 && picture < info_.pictures && std::ssize(bytes) == info_.picture_bytes(),
        "{}: picture {} of {} cannot have {} bytes; they are {}", what_, picture, info_.pictures, bytes.size(),
        info_.picture_bytes());
  const std::uint32_t crc = crc32c(bytes);
  write_at(file_.fd(), bytes.data(), bytes.size(), values_ + picture * info_.picture_bytes(), what_);
  write_at(file_.fd(), &crc, sizeof crc, checksums_ + 4 * picture, what_);
}

void Features::sync() {
  const bool synced = ::fsync(file_.fd()) == 0;
  check(synced, "{}: {}", what_, std::strerror(errno));
}

std::vector<float> to_floats(std::string_view bytes, DType dtype) {
  std::vector<float> values(bytes.size() / size_of(dtype));
  if (dtype == DType::f32) {
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  check(dtype == DType::bf16, "features are bf16 or f32, not {}", name_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) {
    BFloat16 value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    values[i] = static_cast<float>(value);
  }
  return values;
}

}  // namespace skymm
