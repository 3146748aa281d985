#include "io/dataset.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "core/error.hpp"
#include "io/crc32c.hpp"
#include "io/hdf5.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr std::string_view format_name = "skymm samples";
constexpr int format_version = 1;
// Items are gathered in memory up to this size, then written as one data set of exactly that many bytes.
constexpr std::size_t segment_bytes = std::size_t{64} << 20;

constexpr const char* polarity_names[] = {"", "positive", "negative"};

std::string encode_conversation(const Sample& sample) {
  json parts = json::array();
  for (const Part& part : sample.parts) {
    json entry;
    switch (part.kind) {
      case Part::Kind::text:
        entry["text"] = part.text;
        break;
      case Part::Kind::image:
        check(part.image >= 0 && part.image < static_cast<int>(sample.images.size()),
              "sample {}: a part names picture {}, but the sample has {}", sample.id, part.image, sample.images.size());
        entry["image"] = part.image;
        break;
      case Part::Kind::answer:
        entry["answer"] = part.text;
        if (!part.task.empty()) entry["task"] = part.task;
        if (part.polarity != Polarity::none) entry["polarity"] = polarity_names[static_cast<int>(part.polarity)];
        break;
    }
    parts.push_back(std::move(entry));
  }
  json record = {{"id", sample.id}, {"parts", std::move(parts)}};
  if (!sample.annotations.empty()) record["annotations"] = sample.annotations;
  try {
    return record.dump();
  } catch (const json::exception& error) {
    fail("sample {}: its text is not valid UTF-8 ({})", sample.id, error.what());
  }
}

Part decode_part(const json& entry) {
  if (auto text = entry.find("text"); text != entry.end()) return text_part(text->get<std::string>());
  if (auto image = entry.find("image"); image != entry.end()) return image_part(image->get<int>());
  Polarity polarity = Polarity::none;
  const std::string name = entry.value("polarity", "");
  for (int i = 0; i < 3; ++i)
    if (name == polarity_names[i]) polarity = static_cast<Polarity>(i);
  return answer_part(entry.at("answer").get<std::string>(), entry.value("task", ""), polarity);
}

// Blobs laid end to end in data sets <group>/bytes.0, bytes.1, ...; no blob spans two of them.
class BlobWriter {
 public:
  BlobWriter(std::string group, std::string what) : group_(std::move(group)), what_(std::move(what)) {}

  void add(hid_t file, int fd, std::string_view blob) {
    if (!buffer_.empty() && buffer_.size() + blob.size() > segment_bytes) flush(file, fd);
    buffer_ += blob;
    offsets_.push_back(offsets_.back() + blob.size());
    checksums_.push_back(crc32c(blob));
  }

  void flush(hid_t file, int fd) {
    if (buffer_.empty()) return;
    const std::string name = fmt::format("{}/bytes.{}", group_, segments_++);
    const std::int64_t offset = hdf5_allocate(file, name, H5T_STD_U8LE, static_cast<std::int64_t>(buffer_.size()));
    write_at(fd, buffer_.data(), buffer_.size(), offset, what_);
    buffer_.clear();
  }

  const std::vector<std::uint64_t>& offsets() const { return offsets_; }
  const std::vector<std::uint32_t>& checksums() const { return checksums_; }
  int segments() const { return segments_; }

 private:
  std::string group_, what_, buffer_;
  std::vector<std::uint64_t> offsets_{0};
  std::vector<std::uint32_t> checksums_;
  int segments_ = 0;
};

template <class T>
hid_t file_type();
template <>
hid_t file_type<std::uint8_t>() {
  return H5T_STD_U8LE;
}
template <>
hid_t file_type<std::uint16_t>() {
  return H5T_STD_U16LE;
}
template <>
hid_t file_type<std::uint32_t>() {
  return H5T_STD_U32LE;
}
template <>
hid_t file_type<std::uint64_t>() {
  return H5T_STD_U64LE;
}

template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// What is held in memory of a file: everything but the blobs.
struct Index {
  std::vector<std::uint64_t> picture_offsets, sample_offsets;      // [count + 1], into the blobs
  std::vector<std::uint32_t> picture_checksums, sample_checksums;  // [count]
  std::vector<std::uint8_t> language;                              // [samples]
  std::vector<std::uint16_t> source;                               // [samples], into the header's "sources"
  std::vector<std::uint64_t> image_offsets;                        // [samples + 1], into image_numbers
  std::vector<std::uint64_t> image_numbers;

  // Visits (name, array), in the order in which the index checksum runs.
  template <class Visit>
  void visit(Visit&& each) {
    each("images/offsets", picture_offsets);
    each("images/crc32c", picture_checksums);
    each("samples/offsets", sample_offsets);
    each("samples/crc32c", sample_checksums);
    each("samples/language", language);
    each("samples/source", source);
    each("samples/image_offsets", image_offsets);
    each("samples/image_numbers", image_numbers);
  }

  std::uint32_t checksum() {
    std::uint32_t crc = 0;
    visit([&](const char*, const auto& values) { crc = crc32c(bytes_of(values), crc); });
    return crc;
  }
};

// Identity of a picture's bytes; 128 bits and the length, so that chance collisions do not occur.
struct PictureKey {
  std::uint64_t hash, checksum, length;
  bool operator==(const PictureKey&) const = default;
};
struct PictureKeyHash {
  std::size_t operator()(const PictureKey& key) const { return key.hash; }
};

}  // namespace

struct DatasetWriter::Impl {
  std::string path, temporary, what, provenance;
  Hdf5Handle file;
  int fd = -1;
  BlobWriter pictures, samples;
  std::unordered_map<PictureKey, std::uint64_t, PictureKeyHash> known_pictures;
  std::vector<std::string> sources;
  Index index;

  Impl(std::string target, std::string origin)
      : path(std::move(target)),
        temporary(path + ".tmp"),
        what("writing data set " + path),
        provenance(std::move(origin)),
        pictures("images", what),
        samples("samples", what) {
    check(json::accept(provenance), "{}: the provenance is not JSON", what);
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!folder.empty()) std::filesystem::create_directories(folder, error);
    check(!error, "{}: cannot make folder {}: {}", what, folder.string(), error.message());
    fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    check(fd >= 0, "{}: {}", what, std::strerror(errno));
    try {
      const std::scoped_lock lock(hdf5_mutex());
      file = Hdf5Handle(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, what);
    } catch (...) {
      discard();
      throw;
    }
    index.image_offsets.push_back(0);
  }

  ~Impl() {
    if (fd >= 0) discard();
  }

  // HDF5 can only close a file by writing it, which a full disk refuses: give it memory to write to instead.
  void let_go_of_disk() {
    void* descriptor = nullptr;
    if (!file || H5Fget_vfd_handle(file.get(), H5P_DEFAULT, &descriptor) < 0 || !descriptor) return;
    const int memory = ::memfd_create("abandoned data set", MFD_CLOEXEC);
    if (memory < 0) return;
    ::dup2(memory, *static_cast<int*>(descriptor));
    ::close(memory);
  }

  // So that HDF5's own small writes on closing find room.
  void reserve() {
    hsize_t bytes = 0;
    check(H5Fget_filesize(file.get(), &bytes) >= 0, "{}: {}", what, hdf5_reason());
    const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
    check(error == 0, "{}: {}; free some space or choose another folder", what, std::strerror(error));
  }

  void discard() {
    {
      const std::scoped_lock lock(hdf5_mutex());
      let_go_of_disk();
      file = {};
    }
    if (fd >= 0) ::close(std::exchange(fd, -1));
    ::unlink(temporary.c_str());
  }

  std::uint64_t add_picture(const std::string& bytes) {
    const PictureKey key{std::hash<std::string_view>{}(bytes), crc32c(bytes), bytes.size()};
    const auto [found, fresh] = known_pictures.try_emplace(key, known_pictures.size());
    if (fresh) pictures.add(file.get(), fd, bytes);
    return found->second;
  }

  void write_header(json header) {
    header["segments"] = {{"images", pictures.segments()}, {"samples", samples.segments()}};
    const std::string text = header.dump();
    const std::int64_t offset = hdf5_allocate(file.get(), "header", H5T_STD_U8LE, std::ssize(text));
    write_at(fd, text.data(), text.size(), offset, what);
    Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose, what);
    Hdf5Handle attribute(H5Acreate2(file.get(), "header_crc32c", H5T_STD_U32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, what);
    const std::uint32_t crc = crc32c(text);
    check(H5Awrite(attribute.get(), H5T_NATIVE_UINT32, &crc) >= 0, "{}: {}", what, hdf5_reason());
  }

  void finish() {
    const std::scoped_lock lock(hdf5_mutex());
    pictures.flush(file.get(), fd);
    samples.flush(file.get(), fd);
    index.picture_offsets = pictures.offsets();
    index.picture_checksums = pictures.checksums();
    index.sample_offsets = samples.offsets();
    index.sample_checksums = samples.checksums();
    index.visit([&]<class T>(const char* name, const std::vector<T>& values) {
      const std::int64_t offset = hdf5_allocate(file.get(), name, file_type<T>(), std::ssize(values));
      write_at(fd, values.data(), values.size() * sizeof(T), offset, what);
    });
    write_header({{"format", format_name},
                  {"version", format_version},
                  {"samples", index.language.size()},
                  {"images", index.picture_checksums.size()},
                  {"sources", sources},
                  {"index_crc32c", index.checksum()},
                  {"provenance", json::parse(provenance)}});
    reserve();
    file.close(what);
    check(::fsync(fd) == 0, "{}: {}", what, std::strerror(errno));
    check(::rename(temporary.c_str(), path.c_str()) == 0, "{}: {}", what, std::strerror(errno));
    ::close(std::exchange(fd, -1));
    const std::string folder = std::filesystem::path(path).parent_path().string();
    if (const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); dir >= 0) {
      ::fsync(dir);  // makes the new name itself durable
      ::close(dir);
    }
  }
};

DatasetWriter::DatasetWriter(std::string path, std::string provenance_json)
    : impl_(std::make_unique<Impl>(std::move(path), std::move(provenance_json))) {}

DatasetWriter::~DatasetWriter() = default;

std::int64_t DatasetWriter::size() const { return std::ssize(impl_->index.language); }

std::int64_t DatasetWriter::add(const Sample& sample) {
  Impl& to = *impl_;
  check(to.fd >= 0, "{}: add() after close()", to.what);
  const std::string conversation = encode_conversation(sample);
  auto source = std::find(to.sources.begin(), to.sources.end(), sample.source);
  if (source == to.sources.end()) {
    check(to.sources.size() < 65536, "{}: more than 65536 different sources", to.what);
    source = to.sources.insert(to.sources.end(), sample.source);
  }
  const std::scoped_lock lock(hdf5_mutex());
  std::vector<std::uint64_t> numbers;
  for (const std::string& image : sample.images) numbers.push_back(to.add_picture(image));
  to.samples.add(to.file.get(), to.fd, conversation);
  to.index.image_numbers.insert(to.index.image_numbers.end(), numbers.begin(), numbers.end());
  to.index.image_offsets.push_back(to.index.image_numbers.size());
  to.index.language.push_back(static_cast<std::uint8_t>(sample.language));
  to.index.source.push_back(static_cast<std::uint16_t>(source - to.sources.begin()));
  return size() - 1;
}

void DatasetWriter::close() {
  check(impl_->fd >= 0, "{}: closed twice", impl_->what);
  try {
    impl_->finish();
  } catch (...) {
    impl_->discard();
    throw;
  }
}

namespace {

// Random access to blobs of one group: byte p of the group lies in the last segment that starts at or before p.
struct BlobReader {
  std::vector<std::uint64_t> starts;  // of each segment, in the group's own numbering
  std::vector<Hdf5Extent> extents;

  void open(hid_t file, const std::string& group, int segments) {
    std::uint64_t start = 0;
    for (int i = 0; i < segments; ++i) {
      starts.push_back(start);
      extents.push_back(hdf5_extent(file, fmt::format("{}/bytes.{}", group, i), 1));
      start += static_cast<std::uint64_t>(extents.back().bytes);
    }
  }

  std::int64_t file_offset(std::uint64_t position) const {
    const std::size_t i = static_cast<std::size_t>(std::ranges::upper_bound(starts, position) - starts.begin()) - 1;
    return extents[i].offset + static_cast<std::int64_t>(position - starts[i]);
  }

  std::uint64_t bytes() const {
    return extents.empty() ? 0 : starts.back() + static_cast<std::uint64_t>(extents.back().bytes);
  }
};

}  // namespace

struct Dataset::Impl {
  std::string path, provenance;
  int fd = -1;
  BlobReader pictures, samples;
  std::vector<std::string> sources;
  Index index;

  explicit Impl(std::string where) : path(std::move(where)) {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0, "data set {}: {}", path, std::strerror(errno));
    try {
      open();
    } catch (...) {
      ::close(fd);
      throw;
    }
  }
  ~Impl() { ::close(fd); }

  json read_header(hid_t file) {
    const Hdf5Extent extent = hdf5_extent(file, "header", 1);
    std::string text(static_cast<std::size_t>(extent.bytes), '\0');
    read_at(fd, text.data(), text.size(), extent.offset, "data set " + path);
    Hdf5Handle attribute(H5Aopen(file, "header_crc32c", H5P_DEFAULT), H5Aclose, "data set " + path);
    std::uint32_t crc = 0;
    check(H5Aread(attribute.get(), H5T_NATIVE_UINT32, &crc) >= 0 && crc == crc32c(text),
          "data set {}: the header at byte {} is damaged; copy or make the file again", path, extent.offset);
    return json::parse(text);
  }

  template <class T>
  void read_array(hid_t file, const std::string& name, std::vector<T>& values) {
    const Hdf5Extent extent = hdf5_extent(file, name, sizeof(T));
    values.resize(static_cast<std::size_t>(extent.bytes) / sizeof(T));
    read_at(fd, values.data(), values.size() * sizeof(T), extent.offset, "data set " + path);
  }

  void open() {
    const std::scoped_lock lock(hdf5_mutex());
    check(H5Fis_hdf5(path.c_str()) > 0,
          "data set {} is not an HDF5 file; give one made by `skymm data build` or `skymm data import`", path);
    Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose,
                    "data set " + path + " cannot be opened; copy or make it again");
    check(H5Lexists(file.get(), "header", H5P_DEFAULT) > 0 && H5Aexists(file.get(), "header_crc32c") > 0,
          "data set {} is HDF5, but holds no skymm samples", path);
    const json header = read_header(file.get());
    check(header.value("format", "") == format_name, "data set {} is HDF5, but holds no skymm samples", path);
    check(header.at("version") == format_version, "data set {} has format version {}, this skymm reads {}", path,
          header.at("version").dump(), format_version);
    provenance = header.at("provenance").dump();
    sources = header.at("sources").get<std::vector<std::string>>();
    index.visit([&](const char* name, auto& values) { read_array(file.get(), name, values); });
    check(index.checksum() == header.at("index_crc32c"),
          "data set {}: the index is damaged; copy or make the file again", path);
    pictures.open(file.get(), "images", header.at("segments").at("images"));
    samples.open(file.get(), "samples", header.at("segments").at("samples"));
    const std::size_t n = header.at("samples"), m = header.at("images");
    check(index.language.size() == n && index.sample_offsets.size() == n + 1 && index.picture_offsets.size() == m + 1 &&
              index.sample_offsets.back() == samples.bytes() && index.picture_offsets.back() == pictures.bytes(),
          "data set {}: the index does not fit its contents; make the file again", path);
  }

  std::string blob(const BlobReader& reader, const std::vector<std::uint64_t>& offsets,
                   const std::vector<std::uint32_t>& checksums, std::size_t i, const char* kind) const {
    std::string bytes(offsets[i + 1] - offsets[i], '\0');
    if (bytes.empty()) return bytes;
    const std::int64_t place = reader.file_offset(offsets[i]);
    read_at(fd, bytes.data(), bytes.size(), place, "data set " + path);
    check(crc32c(bytes) == checksums[i],
          "data set {}: {} {} (bytes {} to {} of the file) is damaged: its checksum differs; copy or make the file "
          "again",
          path, kind, i, place, place + std::ssize(bytes));
    return bytes;
  }

  std::string picture(std::size_t i) const {
    return blob(pictures, index.picture_offsets, index.picture_checksums, i, "picture");
  }
  std::string conversation(std::size_t i) const {
    return blob(samples, index.sample_offsets, index.sample_checksums, i, "sample");
  }

  std::size_t at(std::int64_t i) const {
    check(i >= 0 && i < std::ssize(index.language), "data set {}: no sample {}; it holds {}", path, i,
          index.language.size());
    return static_cast<std::size_t>(i);
  }
};

Dataset::Dataset(std::string path) : impl_(std::make_unique<Impl>(std::move(path))) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

const std::string& Dataset::path() const { return impl_->path; }
std::int64_t Dataset::size() const { return std::ssize(impl_->index.language); }
const std::string& Dataset::provenance() const { return impl_->provenance; }
std::int64_t Dataset::image_count() const { return std::ssize(impl_->index.picture_checksums); }

Sample Dataset::read(std::int64_t index, bool with_images) const {
  const std::size_t i = impl_->at(index);
  const json record = json::parse(impl_->conversation(i));
  Sample sample;
  sample.id = record.at("id");
  for (const json& part : record.at("parts")) sample.parts.push_back(decode_part(part));
  sample.annotations = record.value("annotations", "");
  sample.language = language(index);
  sample.source = source(index);
  for (const std::int64_t number : image_numbers(index))
    sample.images.push_back(with_images ? read_image(number) : std::string());
  return sample;
}

SampleInfo Dataset::info(std::int64_t index) const {
  const std::size_t i = impl_->at(index);
  const Index& all = impl_->index;
  return {language(index), source(index), static_cast<int>(all.image_offsets[i + 1] - all.image_offsets[i]),
          static_cast<std::int64_t>(all.sample_offsets[i + 1] - all.sample_offsets[i])};
}

Language Dataset::language(std::int64_t index) const {
  return static_cast<Language>(impl_->index.language[impl_->at(index)]);
}

std::string_view Dataset::source(std::int64_t index) const {
  return impl_->sources[impl_->index.source[impl_->at(index)]];
}

std::vector<std::int64_t> Dataset::image_numbers(std::int64_t index) const {
  const std::size_t i = impl_->at(index);
  const Index& all = impl_->index;
  return {all.image_numbers.begin() + static_cast<std::ptrdiff_t>(all.image_offsets[i]),
          all.image_numbers.begin() + static_cast<std::ptrdiff_t>(all.image_offsets[i + 1])};
}

std::string Dataset::read_image(std::int64_t number) const {
  check(number >= 0 && number < image_count(), "data set {}: no picture {}; it holds {}", path(), number,
        image_count());
  return impl_->picture(static_cast<std::size_t>(number));
}

void Dataset::verify() const {
  for (std::size_t i = 0; i < impl_->index.picture_checksums.size(); ++i) impl_->picture(i);
  for (std::size_t i = 0; i < impl_->index.sample_checksums.size(); ++i) impl_->conversation(i);
}

}  // namespace skymm
