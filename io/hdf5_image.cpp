#include "io/hdf5_image.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr std::uint64_t page = 4096;

// HDF5's handle of an open file; its fields come first.
struct Driver {
  H5FD_t base{};
  Hdf5Image* image = nullptr;
};

Hdf5Image& image_of(const H5FD_t* file) { return *reinterpret_cast<const Driver*>(file)->image; }

const H5FD_class_t& driver_class() {
  static const H5FD_class_t driver = [] {
    H5FD_class_t d{};
    d.name = "skymm memory";
    d.maxaddr = (haddr_t{1} << 62) - 1;
    d.fc_degree = H5F_CLOSE_STRONG;
    d.fapl_size = sizeof(Hdf5Image*);
    d.open = [](const char*, unsigned, hid_t fapl, haddr_t) -> H5FD_t* {
      const void* info = H5Pget_driver_info(fapl);
      if (!info) return nullptr;
      auto* file = new Driver;
      std::memcpy(&file->image, info, sizeof file->image);
      return &file->base;
    };
    d.close = [](H5FD_t* file) -> herr_t {
      delete reinterpret_cast<Driver*>(file);
      return 0;
    };
    d.query = [](const H5FD_t*, unsigned long* flags) -> herr_t {
      if (flags) *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA;
      return 0;
    };
    d.get_eoa = [](const H5FD_t* file, H5FD_mem_t) -> haddr_t { return image_of(file).end_; };
    d.set_eoa = [](H5FD_t* file, H5FD_mem_t, haddr_t end) -> herr_t {
      image_of(file).end_ = end;
      return 0;
    };
    d.get_eof = [](const H5FD_t* file, H5FD_mem_t) -> haddr_t { return image_of(file).end_; };
    d.read = [](H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, size_t bytes, void* data) -> herr_t {
      image_of(file).read(at, data, bytes);
      return 0;
    };
    d.write = [](H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, size_t bytes, const void* data) -> herr_t {
      image_of(file).write(at, data, bytes);
      return 0;
    };
    constexpr H5FD_mem_t dichotomy[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(dichotomy), std::end(dichotomy), d.fl_map);
    return d;
  }();
  return driver;
}

hid_t driver_id() {
  static const hid_t id = H5FDregister(&driver_class());
  return id;
}

}  // namespace

Hdf5Image::Hdf5Image() {
  constexpr std::string_view what = "making the structure of an HDF5 file";
  Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  Hdf5Image* self = this;
  const bool set = H5Pset_driver(access.get(), driver_id(), &self) >= 0;
  check(set, "{}: {}", what, hdf5_reason());
  file_ = Hdf5Handle(H5Fcreate("memory", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose, what);
}

void Hdf5Image::note(std::uint64_t begin, std::uint64_t end) {
  auto next = written_.upper_bound(begin);
  if (next != written_.begin() && std::prev(next)->second >= begin) begin = (--next)->first;
  while (next != written_.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = written_.erase(next);
  }
  written_[begin] = end;
}

void Hdf5Image::write(std::uint64_t address, const void* data, std::size_t bytes) {
  if (bytes > 0) note(address, address + bytes);
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    std::vector<char>& to = pages_[address / page];
    to.resize(page);
    const std::size_t n = std::min<std::size_t>(bytes, page - address % page);
    std::memcpy(to.data() + address % page, p, n);
    p += n, address += n, bytes -= n;
  }
}

void Hdf5Image::read(std::uint64_t address, void* data, std::size_t bytes) const {
  char* p = static_cast<char*>(data);
  while (bytes > 0) {
    const std::size_t n = std::min<std::size_t>(bytes, page - address % page);
    const auto found = pages_.find(address / page);
    if (found == pages_.end()) {
      std::memset(p, 0, n);
    } else {
      std::memcpy(p, found->second.data() + address % page, n);
    }
    p += n, address += n, bytes -= n;
  }
}

void Hdf5Image::write_to(int fd, std::string_view what) const {
  const bool sized = ::ftruncate(fd, static_cast<off_t>(end_)) == 0;
  check(sized, "{}: making it {} bytes long failed: {}", what, end_, std::strerror(errno));
  std::vector<char> bytes;
  for (const auto& [begin, written] : written_) {
    const std::uint64_t end = std::min(written, end_);
    if (begin >= end) continue;
    bytes.resize(end - begin);
    read(begin, bytes.data(), bytes.size());
    write_at(fd, bytes.data(), bytes.size(), static_cast<std::int64_t>(begin), what);
  }
}

}  // namespace skymm
