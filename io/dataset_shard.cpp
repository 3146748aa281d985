#include "io/dataset_shard.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/crc32c.hpp"

namespace skymm {

ShardFile::ShardFile(const std::string& path, bool writable)
    : fd_(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)) {
  check(fd_ >= 0, "data set {}: {}", path, std::strerror(errno));
}

ShardFile::~ShardFile() { ::close(fd_); }

void DatasetShard::Blobs::open(const Hdf5Structure& file, const std::string& group, int segments) {
  std::uint64_t start = 0;
  for (int i = 0; i < segments; ++i) {
    starts.push_back(start);
    extents.push_back(file.extent(fmt::format("{}/bytes.{}", group, i), 1));
    start += static_cast<std::uint64_t>(extents.back().bytes);
  }
}

std::int64_t DatasetShard::Blobs::file_offset(std::uint64_t position) const {
  const std::size_t i = static_cast<std::size_t>(std::ranges::upper_bound(starts, position) - starts.begin()) - 1;
  return extents[i].offset + static_cast<std::int64_t>(position - starts[i]);
}

std::uint64_t DatasetShard::Blobs::bytes() const {
  return extents.empty() ? 0 : starts.back() + static_cast<std::uint64_t>(extents.back().bytes);
}

DatasetShard::DatasetShard(std::string path, int fd) : path_(std::move(path)), what_("data set " + path_) {
  try {
    open(fd);
    check_index(fd);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: the header says what cannot be ({}); make the file again", what_, error.what());
  }
}

void DatasetShard::open(int fd) {
  const Hdf5Structure file(fd, what_);
  check(file.has("header") && file.has_attribute("header_crc32c"), "{} is HDF5, but holds no skymm samples", what_);
  read_header(file, fd);
  for (std::size_t i = 0; i < index_arrays_of(version_); ++i) {
    index_[i] = file.extent(index_arrays[i].name, index_arrays[i].element_bytes);
  }
  pictures_.open(file, "images", picture_segments_);
  conversations_.open(file, "samples", sample_segments_);
}

void DatasetShard::read_header(const Hdf5Structure& file, int fd) {
  const Hdf5Extent place = file.extent("header", 1);
  std::string text(static_cast<std::size_t>(place.bytes), '\0');
  read_at(fd, text.data(), text.size(), place.offset, what_);
  header_crc32c_ = static_cast<std::uint32_t>(file.attribute("header_crc32c"));
  check(header_crc32c_ == crc32c(text), "{}: the header at byte {} is damaged; copy or make the file again", what_,
        place.offset);
  const auto header = nlohmann::json::parse(text);
  check(header.value("format", "") == dataset_format, "{} is HDF5, but holds no skymm samples", what_);
  version_ = header.at("version");
  check(version_ >= 1 && version_ <= dataset_version, "{} has format version {}, this skymm reads up to {}", what_,
        version_, dataset_version);
  provenance_ = header.at("provenance").dump();
  sources_ = header.at("sources").get<std::vector<std::string>>();
  index_crc32c_ = header.at("index_crc32c");
  samples_ = header.at("samples");
  images_ = header.at("images");
  constexpr std::int64_t most = std::int64_t{1} << 40;
  check(samples_ >= 0 && samples_ < most && images_ >= 0 && images_ < most,
        "{}: the header counts {} samples and {} pictures; make the file again", what_, samples_, images_);
  picture_segments_ = header.at("segments").at("images");
  sample_segments_ = header.at("segments").at("samples");
}

void DatasetShard::check_index(int fd) const {
  std::uint32_t crc = 0;
  std::string block;
  for (std::size_t i = 0; i < index_arrays_of(version_); ++i) {
    for (std::int64_t at = 0; at < index_[i].bytes; at += std::ssize(block)) {
      block.resize(static_cast<std::size_t>(std::min<std::int64_t>(index_[i].bytes - at, 1 << 20)));
      read_at(fd, block.data(), block.size(), index_[i].offset + at, what_);
      crc = crc32c(block, crc);
    }
  }
  check(crc == index_crc32c_, "{}: the index is damaged; copy or make the file again", what_);
  const auto counts = [&](IndexArray array, std::int64_t count) {
    return extent(array).bytes ==
           count * static_cast<std::int64_t>(index_arrays[static_cast<std::size_t>(array)].element_bytes);
  };
  const bool fits = counts(IndexArray::language, samples_) && counts(IndexArray::source, samples_) &&
                    counts(IndexArray::sample_offsets, samples_ + 1) && counts(IndexArray::sample_crc32c, samples_) &&
                    counts(IndexArray::image_offsets, samples_ + 1) &&
                    counts(IndexArray::picture_offsets, images_ + 1) && counts(IndexArray::picture_crc32c, images_) &&
                    (!has_picture_hashes() || counts(IndexArray::picture_xxh64, images_)) &&
                    value<std::uint64_t>(fd, IndexArray::sample_offsets, samples_) == conversations_.bytes() &&
                    value<std::uint64_t>(fd, IndexArray::picture_offsets, images_) == pictures_.bytes() &&
                    value<std::uint64_t>(fd, IndexArray::image_offsets, samples_) ==
                        static_cast<std::uint64_t>(extent(IndexArray::image_numbers).bytes) / sizeof(std::int64_t);
  check(fits, "{}: the index does not fit its contents; make the file again", what_);
}

template <class T>
T DatasetShard::value(int fd, IndexArray array, std::int64_t i) const {
  T result;
  read_at(fd, &result, sizeof result, extent(array).offset + i * static_cast<std::int64_t>(sizeof(T)), what_);
  return result;
}

template <class T>
std::array<T, 2> DatasetShard::pair(int fd, IndexArray array, std::int64_t i) const {
  std::array<T, 2> result;
  read_at(fd, result.data(), sizeof result, extent(array).offset + i * static_cast<std::int64_t>(sizeof(T)), what_);
  // The index was whole when the file was opened, but may have been damaged since.
  check(result[0] <= result[1], "{}: the index is damaged; copy or make the file again", what_);
  return result;
}

template <class T>
std::vector<T> DatasetShard::whole(int fd, IndexArray array) const {
  std::vector<T> values(static_cast<std::size_t>(extent(array).bytes) / sizeof(T));
  read_at(fd, values.data(), values.size() * sizeof(T), extent(array).offset, what_);
  return values;
}

std::string DatasetShard::blob(int fd, const Blobs& blobs, IndexArray offsets, IndexArray checksums, std::int64_t i,
                               const char* kind) const {
  const auto [begin, end] = pair<std::uint64_t>(fd, offsets, i);
  check(end <= blobs.bytes(), "{}: the index is damaged; copy or make the file again", what_);
  std::string bytes(end - begin, '\0');
  if (bytes.empty()) return bytes;
  const std::int64_t place = blobs.file_offset(begin);
  read_at(fd, bytes.data(), bytes.size(), place, what_);
  check(crc32c(bytes) == value<std::uint32_t>(fd, checksums, i),
        "{}: {} {} (bytes {} to {} of the file) is damaged: its checksum differs; copy or make the file again", what_,
        kind, i, place, place + std::ssize(bytes));
  return bytes;
}

std::string DatasetShard::conversation(int fd, std::int64_t index) const {
  return blob(fd, conversations_, IndexArray::sample_offsets, IndexArray::sample_crc32c, index, "sample");
}

std::string DatasetShard::picture(int fd, std::int64_t number) const {
  return blob(fd, pictures_, IndexArray::picture_offsets, IndexArray::picture_crc32c, number, "picture");
}

std::int64_t DatasetShard::text_bytes(int fd, std::int64_t index) const {
  const auto [begin, end] = pair<std::uint64_t>(fd, IndexArray::sample_offsets, index);
  return static_cast<std::int64_t>(end - begin);
}

Language DatasetShard::language(int fd, std::int64_t index) const {
  return static_cast<Language>(std::min<std::uint8_t>(value<std::uint8_t>(fd, IndexArray::language, index), 2));
}

const std::string& DatasetShard::source(int fd, std::int64_t index) const {
  const auto number = value<std::uint16_t>(fd, IndexArray::source, index);
  check(number < sources_.size(), "{}: the index is damaged; copy or make the file again", what_);
  return sources_[number];
}

std::vector<std::int64_t> DatasetShard::image_numbers(int fd, std::int64_t index) const {
  const auto [begin, end] = pair<std::uint64_t>(fd, IndexArray::image_offsets, index);
  constexpr std::uint64_t size = sizeof(std::int64_t);
  check(end <= static_cast<std::uint64_t>(extent(IndexArray::image_numbers).bytes) / size,
        "{}: the index is damaged; copy or make the file again", what_);
  std::vector<std::int64_t> numbers(end - begin);
  const std::int64_t place = extent(IndexArray::image_numbers).offset + static_cast<std::int64_t>(begin * size);
  if (!numbers.empty()) read_at(fd, numbers.data(), numbers.size() * size, place, what_);
  const bool known = std::ranges::all_of(numbers, [&](std::int64_t n) { return n >= 0 && n < images_; });
  check(known, "{}: sample {} names a picture that is not there; make the file again", what_, index);
  return numbers;
}

int DatasetShard::images_of(int fd, std::int64_t index) const {
  const auto [begin, end] = pair<std::uint64_t>(fd, IndexArray::image_offsets, index);
  return static_cast<int>(end - begin);
}

std::vector<std::uint8_t> DatasetShard::languages(int fd) const {
  return whole<std::uint8_t>(fd, IndexArray::language);
}

std::vector<std::uint16_t> DatasetShard::source_numbers(int fd) const {
  return whole<std::uint16_t>(fd, IndexArray::source);
}

std::vector<std::uint64_t> DatasetShard::image_offsets(int fd) const {
  return whole<std::uint64_t>(fd, IndexArray::image_offsets);
}

std::vector<std::uint64_t> DatasetShard::all_image_numbers(int fd) const {
  return whole<std::uint64_t>(fd, IndexArray::image_numbers);
}

bool DatasetShard::has_picture_hashes() const {
  return index_arrays_of(version_) > static_cast<std::size_t>(IndexArray::picture_xxh64);
}

std::vector<std::uint64_t> DatasetShard::picture_hashes(int fd) const {
  return whole<std::uint64_t>(fd, IndexArray::picture_xxh64);
}

void DatasetShard::verify(int fd) const {
  check_index(fd);
  for (std::int64_t i = 0; i < images_; ++i) picture(fd, i);
  for (std::int64_t i = 0; i < samples_; ++i) conversation(fd, i);
}

ShardEntry describe_shard(const std::string& path) {
  const ShardFile file(path);
  const DatasetShard shard(path, file.fd());
  ShardEntry entry;
  entry.file = std::filesystem::path(path).filename().string();
  entry.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  entry.samples = shard.size();
  entry.images = shard.image_count();
  for (const std::uint8_t language : shard.languages(file.fd())) ++entry.languages.at(language);
  entry.header_crc32c = shard.header_crc32c();
  return entry;
}

}  // namespace skymm
