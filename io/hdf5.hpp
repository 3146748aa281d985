// HDF5 handles that close themselves, and the few calls that data sets and checkpoints share.
// Debian's parallel HDF5 is not thread-safe: hold hdf5_mutex() around every use; move bulk bytes by pread and pwrite at
// a data set's file offset instead, which needs no lock.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

std::mutex& hdf5_mutex();

// Owns one HDF5 identifier; empty after a move.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  // Throws Error "<what>: <HDF5's innermost reason>" where `id` is negative.
  Hdf5Handle(hid_t id, Close close, std::string_view what);
  Hdf5Handle(Hdf5Handle&& other) noexcept;
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept;
  ~Hdf5Handle();

  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  // Closes now and reports failure, which a destructor cannot.
  void close(std::string_view what);

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

// The reason of the last failed HDF5 call, for error messages.
std::string hdf5_reason();

// Makes a contiguous, early-allocated data set of one dimension; returns its byte offset in the file.
std::int64_t hdf5_allocate(hid_t parent, const std::string& name, hid_t type, std::int64_t count);

struct Hdf5Extent {
  std::int64_t offset = 0;  // bytes from the start of the file
  std::int64_t bytes = 0;
};
// Where the bytes of a contiguous data set lie. Throws Error where the data set is absent, stored otherwise, or said to
// lie where the file has no bytes.
Hdf5Extent hdf5_extent(hid_t parent, const std::string& name, std::size_t element_bytes);

// Reads an attribute that is one integer, as `native`: H5T_NATIVE_UINT32 or alike. Throws Error for any other.
void hdf5_read_number(hid_t object, const std::string& name, hid_t native, void* to, std::string_view what);

// Whole-buffer pread and pwrite; throw Error with `what` and the system's reason (a full disk, an early end).
void read_at(int fd, void* data, std::size_t bytes, std::int64_t offset, std::string_view what);
void write_at(int fd, const void* data, std::size_t bytes, std::int64_t offset, std::string_view what);

}  // namespace skymm
