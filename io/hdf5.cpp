#include "io/hdf5.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.hpp"

namespace skymm {

std::mutex& hdf5_mutex() {
  static std::mutex mutex;
  // After a failed H5Fclose (a full disk) HDF5 1.10's own clean-up at exit crashes; handles close themselves anyway.
  [[maybe_unused]] static const herr_t stays = H5dont_atexit();
  // HDF5 prints every error by itself unless told not to; messages here carry the reason instead.
  [[maybe_unused]] static const herr_t silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  return mutex;
}

std::string hdf5_reason() {
  std::string reason = "no reason given";
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
        if (depth == 0 && error->desc) *static_cast<std::string*>(out) = error->desc;
        return 0;
      },
      &reason);
  return reason;
}

Hdf5Handle::Hdf5Handle(hid_t id, Close close, std::string_view what) : id_(id), close_(close) {
  check(id >= 0, "{}: {}", what, hdf5_reason());
}

Hdf5Handle::Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

Hdf5Handle& Hdf5Handle::operator=(Hdf5Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

Hdf5Handle::~Hdf5Handle() {
  if (id_ >= 0) close_(id_);
}

void Hdf5Handle::close(std::string_view what) {
  if (id_ < 0) return;
  const bool closed = close_(std::exchange(id_, -1)) >= 0;
  check(closed, "{}: {}", what, hdf5_reason());
}

std::int64_t hdf5_allocate(hid_t parent, const std::string& name, hid_t type, std::int64_t count) {
  const std::string what = "making HDF5 data set " + name;
  const hsize_t extent = static_cast<hsize_t>(count);
  Hdf5Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose, what);
  Hdf5Handle layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  Hdf5Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose, what);
  // Calls before their reason is asked for: the order of arguments is the compiler's choice.
  const bool set_up =
      H5Pset_layout(layout.get(), H5D_CONTIGUOUS) >= 0 && H5Pset_alloc_time(layout.get(), H5D_ALLOC_TIME_EARLY) >= 0 &&
      H5Pset_fill_time(layout.get(), H5D_FILL_TIME_NEVER) >= 0 && H5Pset_create_intermediate_group(links.get(), 1) >= 0;
  check(set_up, "{}: {}", what, hdf5_reason());
  Hdf5Handle set(H5Dcreate2(parent, name.c_str(), type, space.get(), links.get(), layout.get(), H5P_DEFAULT), H5Dclose,
                 what);
  if (count == 0) return 0;
  const haddr_t offset = H5Dget_offset(set.get());
  check(offset != HADDR_UNDEF, "{}: no file offset: {}", what, hdf5_reason());
  return static_cast<std::int64_t>(offset);
}

Hdf5Extent hdf5_extent(hid_t parent, const std::string& name, std::size_t element_bytes) {
  Hdf5Handle set(H5Dopen2(parent, name.c_str(), H5P_DEFAULT), H5Dclose, "HDF5 data set " + name);
  Hdf5Handle space(H5Dget_space(set.get()), H5Sclose, "HDF5 data set " + name);
  Hdf5Handle type(H5Dget_type(set.get()), H5Tclose, "HDF5 data set " + name);
  check(H5Tget_size(type.get()) == element_bytes, "HDF5 data set {} has elements of {} bytes, expected {}", name,
        H5Tget_size(type.get()), element_bytes);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  check(count >= 0 && H5Sget_simple_extent_ndims(space.get()) == 1, "HDF5 data set {} is not one-dimensional", name);
  if (count == 0) return {};
  const haddr_t offset = H5Dget_offset(set.get());
  check(offset != HADDR_UNDEF, "HDF5 data set {} is not stored contiguously", name);
  Hdf5Handle file(H5Iget_file_id(parent), H5Fclose, "HDF5 data set " + name);
  hsize_t size = 0;
  const bool inside = H5Fget_filesize(file.get(), &size) >= 0 && offset <= size &&
                      static_cast<hsize_t>(count) <= (size - offset) / element_bytes;
  check(inside, "HDF5 data set {} of {} elements at byte {} does not fit the file's {} bytes; copy or make it again",
        name, count, offset, size);
  return {static_cast<std::int64_t>(offset),
          static_cast<std::int64_t>(count) * static_cast<std::int64_t>(element_bytes)};
}

void hdf5_read_number(hid_t object, const std::string& name, hid_t native, void* to, std::string_view what) {
  Hdf5Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what);
  Hdf5Handle space(H5Aget_space(attribute.get()), H5Sclose, what);
  Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose, what);
  // H5Aread writes as many elements as the file says.
  check(H5Sget_simple_extent_npoints(space.get()) == 1 && H5Tget_class(type.get()) == H5T_INTEGER,
        "{}: the attribute {} is not one integer", what, name);
  const bool read = H5Aread(attribute.get(), native, to) >= 0;
  check(read, "{}: the attribute {} cannot be read: {}", what, name, hdf5_reason());
}

void read_at(int fd, void* data, std::size_t bytes, std::int64_t offset, std::string_view what) {
  char* p = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, p, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    check(got >= 0, "{}: reading at byte {} failed: {}", what, offset, std::strerror(errno));
    check(got > 0, "{}: ends at byte {}, {} bytes too early; copy or make it again", what, offset, bytes);
    p += got;
    offset += got;
    bytes -= static_cast<std::size_t>(got);
  }
}

void write_at(int fd, const void* data, std::size_t bytes, std::int64_t offset, std::string_view what) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t put = ::pwrite(fd, p, bytes, offset);
    if (put < 0 && errno == EINTR) continue;
    check(put > 0, "{}: writing {} bytes failed: {}; free some space or choose another folder", what, bytes,
          std::strerror(put < 0 ? errno : ENOSPC));
    p += put;
    offset += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

}  // namespace skymm
