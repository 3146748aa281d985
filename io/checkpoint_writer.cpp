#include "io/checkpoint_writer.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <unordered_set>

#include "core/error.hpp"
#include "io/checkpoint_header.hpp"
#include "io/file.hpp"
#include "io/hash.hpp"
#include "io/hdf5.hpp"
#include "io/hdf5_image.hpp"

namespace skymm {
namespace {

constexpr std::size_t header_at = 0, header_bytes = 1, checksums_at = 2, arrays_at = 3;  // in places()
constexpr std::int64_t checksum_bytes = sizeof(std::uint64_t);

std::string temporary_of(const std::string& path) { return path + ".tmp"; }

std::string header_text(const CheckpointInfo& info, const std::vector<StoredTensor>& tensors) {
  return checkpoint_header(info, tensors).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void check_tensors(const std::vector<StoredTensor>& tensors) {
  std::unordered_set<std::string> names;
  for (const StoredTensor& tensor : tensors) {
    check(!tensor.name.empty() && tensor.name.find('/') == std::string::npos && names.insert(tensor.name).second,
          "a checkpoint cannot hold the tensor '{}': its name is empty, has a '/' or comes twice", tensor.name);
    std::int64_t before = -1;
    for (const std::int64_t begin : tensor.begins) {
      check(begin > before && begin < tensor.shape.numel(), "the pieces of '{}' {} are not in order", tensor.name,
            tensor.shape);
      before = begin;
    }
    check(tensor.begins.empty() ? tensor.shape.numel() == 0 : tensor.begins.front() == 0,
          "the pieces of '{}' do not begin with its first element", tensor.name);
  }
}

std::vector<std::int64_t> first_checksums(const std::vector<StoredTensor>& tensors) {
  std::vector<std::int64_t> first;
  std::int64_t next = 1;
  for (const StoredTensor& tensor : tensors) {
    first.push_back(next);
    next += tensor.arrays() * static_cast<std::int64_t>(tensor.begins.size());
  }
  first.push_back(next);  // their number
  return first;
}

// Its client may write whole pages, with what it last saw of the bytes that ranks on other hosts write; not so where
// each write goes to the server at once (O_DSYNC).
bool is_nfs(int fd) {
  struct statfs system {};
  return ::fstatfs(fd, &system) == 0 && system.f_type == NFS_SUPER_MAGIC;
}

}  // namespace

CheckpointLayout::CheckpointLayout(std::vector<StoredTensor> tensors, const CheckpointInfo& info)
    : tensors_(std::move(tensors)), first_checksum_(first_checksums(tensors_)) {
  check_tensors(tensors_);
  const auto room = static_cast<std::int64_t>(header_text(info, tensors_).size() + room_for_growth);
  const std::lock_guard lock(hdf5_mutex());
  structure_ = std::make_shared<Hdf5Image>();
  const hid_t file = structure_->file();
  places_ = {hdf5_allocate(file, "header", H5T_STD_U8LE, room), room,
             hdf5_allocate(file, "checksums", H5T_STD_U64LE, first_checksum_.back())};
  for (const StoredTensor& tensor : tensors_) {
    for (int array = 0; array < 3; ++array) {
      const bool stored = array < tensor.arrays();
      places_.push_back(
          stored ? hdf5_allocate(file, checkpoint_place(tensor.name, array), H5T_IEEE_F32LE, tensor.shape.numel()) : 0);
    }
  }
  structure_->close();
}

CheckpointLayout::CheckpointLayout(std::vector<StoredTensor> tensors, std::vector<std::int64_t> places)
    : tensors_(std::move(tensors)), first_checksum_(first_checksums(tensors_)), places_(std::move(places)) {
  check(places_.size() == arrays_at + 3 * tensors_.size(), "{} places do not belong to {} tensors", places_.size(),
        tensors_.size());
}

CheckpointLayout::~CheckpointLayout() = default;

std::int64_t CheckpointLayout::place(std::size_t tensor, int array) const {
  return places_[arrays_at + 3 * tensor + static_cast<std::size_t>(array)];
}

std::int64_t CheckpointLayout::checksum_place(std::size_t tensor, int array, std::size_t piece) const {
  const auto of_array = static_cast<std::int64_t>(tensors_[tensor].begins.size());
  const std::int64_t number = first_checksum_[tensor] + array * of_array + static_cast<std::int64_t>(piece);
  return places_[checksums_at] + number * checksum_bytes;
}

// Any rank may be the first. The size and the structure come from one of them, at whatever time: every byte that counts
// is written by somebody, so what an interrupted save left in the file is overwritten.
CheckpointPart::CheckpointPart(const CheckpointLayout& layout, const std::string& path)
    : layout_(layout), temporary_(temporary_of(path)) {
  constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC;
  fd_ = ::open(temporary_.c_str(), flags, 0644);
  if (fd_ >= 0 && is_nfs(fd_)) {
    ::close(fd_);
    fd_ = ::open(temporary_.c_str(), flags | O_DSYNC, 0644);
  }
  check(fd_ >= 0, "cannot create {}: {}; choose a folder that exists and may be written", temporary_,
        std::strerror(errno));
}

CheckpointPart::~CheckpointPart() {
  if (fd_ >= 0) ::close(fd_);
}

void CheckpointPart::write_structure(const CheckpointInfo& info) {
  check(layout_.structure_ != nullptr, "{}: only the rank that made the layout writes the structure", temporary_);
  std::string header = header_text(info, layout_.tensors_);
  const auto room = static_cast<std::size_t>(layout_.places_[header_bytes]);
  check(header.size() <= room, "{}: the header of {} bytes does not fit into {}; its metrics are too long", temporary_,
        header.size(), room);
  header.resize(room, ' ');
  layout_.structure_->write_to(fd_, temporary_);
  write_at(fd_, header.data(), header.size(), layout_.places_[header_at], temporary_);
  const std::uint64_t hash = hash64(header.data(), header.size());
  write_at(fd_, &hash, sizeof hash, layout_.places_[checksums_at], temporary_);
}

void CheckpointPart::write(std::size_t tensor, int array, std::size_t piece, const float* values) {
  const StoredTensor& stored = layout_.tensors_.at(tensor);
  const std::int64_t begin = stored.begins.at(piece);
  const std::size_t bytes = static_cast<std::size_t>(stored.end(piece) - begin) * sizeof(float);
  write_at(fd_, values, bytes, layout_.place(tensor, array) + begin * static_cast<std::int64_t>(sizeof(float)),
           temporary_);
  const std::uint64_t hash = hash64(values, bytes);
  write_at(fd_, &hash, sizeof hash, layout_.checksum_place(tensor, array, piece), temporary_);
}

void CheckpointPart::close() {
  const bool synced = ::fsync(fd_) == 0;
  check(synced, "cannot bring {} to disk: {}", temporary_, std::strerror(errno));
  const bool closed = ::close(std::exchange(fd_, -1)) == 0;
  check(closed, "cannot close {}: {}", temporary_, std::strerror(errno));
}

void commit_checkpoint(const std::string& path) { rename_file(temporary_of(path), path); }

void discard_checkpoint(const std::string& path) { ::unlink(temporary_of(path).c_str()); }

}  // namespace skymm
