// Where the arrays of an HDF5 file lie, without libhdf5, which trusts what a file says of itself: one that is damaged
// or forged can take the program down or make it ask for any amount of memory. Reads what libhdf5 writes by default and
// io/hdf5.hpp asks for: superblock 0, groups with symbol tables, version 1 object headers, contiguous arrays of one
// dimension (HDF5 File Format Specification 3.0, parts II to IV). Anything else is an Error with its byte.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "io/hdf5.hpp"

namespace skymm {

class Hdf5Structure {
 public:
  // `what` is put in front of messages. Reads groups down to the second level. Needs no lock.
  Hdf5Structure(int fd, std::string what);

  bool has(const std::string& name) const { return objects_.contains(name); }
  // Of the array of this name ("images/offsets"). Throws Error where there is none, its elements are of another size,
  // or the file has no such bytes.
  Hdf5Extent extent(const std::string& name, std::size_t element_bytes) const;

  bool has_attribute(const std::string& name) const { return attributes_.contains(name); }
  std::uint64_t attribute(const std::string& name) const;  // of the file itself: one integer

 private:
  std::map<std::string, std::uint64_t> objects_;     // where each object's header is
  std::map<std::string, std::uint64_t> attributes_;  // of the root that are one integer
  int fd_;
  std::string what_;
};

}  // namespace skymm
