// Scalars as TensorBoard reads them: a TFRecord file of Event messages (tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto), encoded by hand.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace skymm {

class EventWriter {
 public:
  // Makes events.out.tfevents.<time>.<host>.<pid> in `folder`, which must exist. A run that goes on after `first_step`
  // steps says so: TensorBoard then drops what an earlier file has beyond it. Throws Error where it cannot be written.
  explicit EventWriter(const std::string& folder, std::int64_t first_step = 0);

  // On disk at once. `tag`: "loss", or grouped by a slash, "lvm/retrieval_english". A full disk is logged once, and
  // later events are lost: a run is worth more than its curves.
  void scalar(std::int64_t step, std::string_view tag, double value);

  const std::string& path() const { return path_; }

 private:
  void record(const std::string& event);

  std::string path_;
  std::ofstream file_;
  bool failed_ = false;
};

// The checksum that TFRecord keeps of a piece of bytes: a CRC-32C, rotated by 15 bits and shifted by a constant.
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace skymm
