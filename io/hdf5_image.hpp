// The structure of an HDF5 file, made in memory. HDF5 cannot close a file whose disk is full (and takes the program
// down when it ends), so what can fail on a disk is left to plain writes: make the structure here, allocate the arrays
// (hdf5_allocate), close it, and write it and the arrays' bytes to their offsets.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "io/hdf5.hpp"

namespace skymm {

class Hdf5Image {
 public:
  Hdf5Image();  // a new, empty file; hold hdf5_mutex() from here to close()
  Hdf5Image(const Hdf5Image&) = delete;
  Hdf5Image& operator=(const Hdf5Image&) = delete;

  hid_t file() const { return file_.get(); }
  void close() { file_.close("closing the structure of an HDF5 file"); }
  std::uint64_t bytes() const { return end_; }  // size of the file
  // After close(): gives the file its size and writes what is not an array's, and not a byte more: others may write the
  // arrays at the same time. Throws Error as write_at() does.
  void write_to(int fd, std::string_view what) const;

  // For the driver: pages that nothing was written to take no memory.
  void write(std::uint64_t address, const void* data, std::size_t bytes);
  void read(std::uint64_t address, void* data, std::size_t bytes) const;
  std::uint64_t end_ = 0;  // of the allocated addresses

 private:
  void note(std::uint64_t begin, std::uint64_t end);

  std::map<std::uint64_t, std::vector<char>> pages_;
  std::map<std::uint64_t, std::uint64_t> written_;  // begin -> end of what was written, apart from each other
  Hdf5Handle file_;                                 // last: closes before the pages go
};

}  // namespace skymm
