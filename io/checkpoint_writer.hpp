// Writes a checkpoint (io/checkpoint.hpp) by many ranks at once, each its own pieces, into one file:
//
//   CheckpointLayout layout(tensors, info);               // once a run, by one rank: the only use of HDF5
//   CheckpointPart part(layout, path);                    // each rank, for each checkpoint
//   part.write_structure(info);                           // one rank
//   part.write(tensor, array, piece, values);             // each piece by one rank, in any order
//   part.close();                                         // each: on disk now
//   commit_checkpoint(path) or discard_checkpoint(path);  // one rank, once all have closed
//
// Until it is committed the file has another name: a reader sees a whole checkpoint or none. No call waits for another
// rank, and none of those after the layout was made uses HDF5, so that a background thread may make them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"

namespace skymm {

class Hdf5Image;

// Where everything lies in the file: the same for every checkpoint of a run.
class CheckpointLayout {
 public:
  // Makes the file's structure. `info` is one such as will be written: what a later one is longer by has to fit into
  // the room that is left for it (room_for_growth). Throws Error where names are empty, have a '/' or come twice.
  CheckpointLayout(std::vector<StoredTensor> tensors, const CheckpointInfo& info);
  // Of the same tensors on another rank, from places() of the rank that made it: it cannot write the structure.
  CheckpointLayout(std::vector<StoredTensor> tensors, std::vector<std::int64_t> places);
  ~CheckpointLayout();

  static constexpr std::size_t room_for_growth = 16384;  // bytes

  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const std::vector<std::int64_t>& places() const { return places_; }

 private:
  friend class CheckpointPart;
  std::int64_t place(std::size_t tensor, int array) const;
  std::int64_t checksum_place(std::size_t tensor, int array, std::size_t piece) const;

  std::vector<StoredTensor> tensors_;
  std::vector<std::int64_t> first_checksum_;  // of each tensor; that of the header comes first
  std::vector<std::int64_t> places_;          // header, its bytes, checksums, then three a tensor: file offsets
  std::shared_ptr<Hdf5Image> structure_;      // on the rank that made it
};

// Every member throws Error with the system's reason: a full disk, a folder that cannot be written.
class CheckpointPart {
 public:
  // Opens the temporary file of the checkpoint that is to be at `path`, or makes it.
  CheckpointPart(const CheckpointLayout& layout, const std::string& path);
  ~CheckpointPart();
  CheckpointPart(const CheckpointPart&) = delete;
  CheckpointPart& operator=(const CheckpointPart&) = delete;

  void write_structure(const CheckpointInfo& info);
  void write(std::size_t tensor, int array, std::size_t piece, const float* values);
  void close();

 private:
  const CheckpointLayout& layout_;
  std::string temporary_;
  int fd_ = -1;
};

void commit_checkpoint(const std::string& path);
void discard_checkpoint(const std::string& path);

}  // namespace skymm
