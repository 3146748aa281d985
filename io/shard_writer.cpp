#include "io/shard_writer.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "io/crc32c.hpp"
#include "io/dataset_format.hpp"
#include "io/hash.hpp"
#include "io/hdf5.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// Items are gathered in memory up to this size, then written as one data set of exactly that many bytes.
constexpr std::size_t segment_bytes = std::size_t{64} << 20;

// Blobs laid end to end in data sets <group>/bytes.0, bytes.1, ...; no blob spans two of them.
class BlobWriter {
 public:
  BlobWriter(std::string group, std::string what) : group_(std::move(group)), what_(std::move(what)) {}

  void add(hid_t file, int fd, std::string_view blob, std::uint32_t checksum) {
    if (!buffer_.empty() && buffer_.size() + blob.size() > segment_bytes) flush(file, fd);
    buffer_ += blob;
    offsets.push_back(offsets.back() + blob.size());
    checksums.push_back(checksum);
  }

  void flush(hid_t file, int fd) {
    if (buffer_.empty()) return;
    const std::string name = fmt::format("{}/bytes.{}", group_, segments_++);
    std::int64_t offset = 0;
    {
      const std::scoped_lock lock(hdf5_mutex());
      offset = hdf5_allocate(file, name, H5T_STD_U8LE, static_cast<std::int64_t>(buffer_.size()));
    }
    write_at(fd, buffer_.data(), buffer_.size(), offset, what_);
    buffer_.clear();
  }

  int segments() const { return segments_; }

  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint32_t> checksums;

 private:
  std::string group_, what_, buffer_;
  int segments_ = 0;
};

hid_t file_type(std::size_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return H5T_STD_U8LE;
    case 2:
      return H5T_STD_U16LE;
    case 4:
      return H5T_STD_U32LE;
    default:
      return H5T_STD_U64LE;
  }
}

template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Identity of a picture's bytes: 96 bits and the length, so that chance collisions do not occur.
struct PictureKey {
  std::uint64_t hash;
  std::uint32_t checksum;
  std::size_t length;
  bool operator==(const PictureKey&) const = default;
};
struct PictureKeyHash {
  std::size_t operator()(const PictureKey& key) const { return key.hash; }
};

}  // namespace

struct ShardWriter::Impl {
  std::string path, temporary, what;
  Hdf5Handle file;
  int fd = -1;
  BlobWriter pictures, samples;
  std::unordered_map<PictureKey, std::uint64_t, PictureKeyHash> known_pictures;
  std::vector<std::string> sources;
  std::vector<std::uint8_t> language;
  std::vector<std::uint16_t> source;
  std::vector<std::uint64_t> image_offsets{0}, image_numbers, picture_hashes;

  explicit Impl(std::string target)
      : path(std::move(target)),
        temporary(path + ".tmp"),
        what("writing data set " + path),
        pictures("images", what),
        samples("samples", what) {
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
    const bool known = H5Fget_filesize(file.get(), &bytes) >= 0;
    check(known, "{}: {}", what, hdf5_reason());
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
    const PictureKey key{hash64(bytes.data(), bytes.size()), crc32c(bytes), bytes.size()};
    const auto [found, fresh] = known_pictures.try_emplace(key, known_pictures.size());
    if (fresh) {
      pictures.add(file.get(), fd, bytes, key.checksum);
      picture_hashes.push_back(key.hash);
    }
    return found->second;
  }

  std::uint16_t source_number(const std::string& name) {
    auto place = std::find(sources.begin(), sources.end(), name);
    if (place == sources.end()) {
      check(sources.size() < 65536, "{}: more than 65536 different sources", what);
      place = sources.insert(sources.end(), name);
    }
    return static_cast<std::uint16_t>(place - sources.begin());
  }

  // The bytes of the index arrays, in the order of index_arrays.
  std::array<std::string_view, index_arrays.size()> index() const {
    return {bytes_of(pictures.offsets),  bytes_of(pictures.checksums), bytes_of(samples.offsets),
            bytes_of(samples.checksums), bytes_of(language),           bytes_of(source),
            bytes_of(image_offsets),     bytes_of(image_numbers),      bytes_of(picture_hashes)};
  }

  std::uint32_t write_index() {
    std::uint32_t crc = 0;
    const auto arrays = index();
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      const auto [name, element_bytes] = index_arrays[i];
      const auto count = static_cast<std::int64_t>(arrays[i].size() / element_bytes);
      const std::int64_t offset = hdf5_allocate(file.get(), name, file_type(element_bytes), count);
      write_at(fd, arrays[i].data(), arrays[i].size(), offset, what);
      crc = crc32c(arrays[i], crc);
    }
    return crc;
  }

  std::uint32_t write_header(const json& header) {
    const std::string text = header.dump();
    const std::int64_t offset = hdf5_allocate(file.get(), "header", H5T_STD_U8LE, std::ssize(text));
    write_at(fd, text.data(), text.size(), offset, what);
    Hdf5Handle scalar(H5Screate(H5S_SCALAR), H5Sclose, what);
    Hdf5Handle attribute(H5Acreate2(file.get(), "header_crc32c", H5T_STD_U32LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose, what);
    const std::uint32_t crc = crc32c(text);
    const bool written = H5Awrite(attribute.get(), H5T_NATIVE_UINT32, &crc) >= 0;
    check(written, "{}: {}", what, hdf5_reason());
    return crc;
  }

  void commit() {
    const bool synced = ::fsync(fd) == 0;
    check(synced, "{}: {}", what, std::strerror(errno));
    const bool renamed = ::rename(temporary.c_str(), path.c_str()) == 0;
    check(renamed, "{}: {}", what, std::strerror(errno));
    ::close(std::exchange(fd, -1));
    const std::string folder = std::filesystem::path(path).parent_path().string();
    if (const int dir = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); dir >= 0) {
      ::fsync(dir);  // makes the new name itself durable
      ::close(dir);
    }
  }

  ShardEntry finish(const std::string& provenance) {
    pictures.flush(file.get(), fd);
    samples.flush(file.get(), fd);
    ShardEntry entry;
    entry.file = std::filesystem::path(path).filename().string();
    entry.samples = std::ssize(language);
    entry.images = std::ssize(picture_hashes);
    for (const std::uint8_t l : language) ++entry.languages[l];
    const std::scoped_lock lock(hdf5_mutex());
    const std::uint32_t index_crc = write_index();
    entry.header_crc32c =
        write_header({{"format", dataset_format},
                      {"version", dataset_version},
                      {"samples", entry.samples},
                      {"images", entry.images},
                      {"languages", entry.languages},
                      {"sources", sources},
                      {"segments", {{"images", pictures.segments()}, {"samples", samples.segments()}}},
                      {"index_crc32c", index_crc},
                      {"provenance", json::parse(provenance)}});
    reserve();
    file.close(what);
    commit();
    entry.bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
    return entry;
  }
};

ShardWriter::ShardWriter(std::string path) : impl_(std::make_unique<Impl>(std::move(path))) {}
ShardWriter::~ShardWriter() = default;

std::int64_t ShardWriter::size() const { return std::ssize(impl_->language); }

std::int64_t ShardWriter::bytes() const {
  return static_cast<std::int64_t>(impl_->pictures.offsets.back() + impl_->samples.offsets.back());
}

std::int64_t ShardWriter::add(const Sample& sample) {
  Impl& to = *impl_;
  check(to.fd >= 0, "{}: add() after close()", to.what);
  const std::string conversation = encode_conversation(sample);
  const std::uint16_t source = to.source_number(sample.source);
  for (const std::string& image : sample.images) to.image_numbers.push_back(to.add_picture(image));
  to.samples.add(to.file.get(), to.fd, conversation, crc32c(conversation));
  to.image_offsets.push_back(to.image_numbers.size());
  to.language.push_back(static_cast<std::uint8_t>(sample.language));
  to.source.push_back(source);
  return size() - 1;
}

ShardEntry ShardWriter::close(const std::string& provenance_json) {
  check(impl_->fd >= 0, "{}: closed twice", impl_->what);
  check(json::accept(provenance_json), "{}: the provenance is not JSON", impl_->what);
  try {
    return impl_->finish(provenance_json);
  } catch (...) {
    impl_->discard();
    throw;
  }
}

}  // namespace skymm
