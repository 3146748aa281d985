// Saves checkpoints while training goes on.
//
//   begin    copies this rank's share of what trains into staging memory; training stops for that alone
//   then     a background thread writes the copy, with checksums, and brings it to disk (io/checkpoint_writer.hpp)
//   poll     at later step boundaries the ranks agree on whether all have written; then rank 0 renames the file
//
// The background thread calls neither MPI nor HDF5. One checkpoint is under way at a time. Where any rank cannot write,
// each that could not says why, the checkpoint is given up by all, and those before it stay as they are.
#pragma once

#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/checkpoint_writer.hpp"
#include "parallel/zero/optimizer.hpp"

namespace skymm {

class Checkpointer {
 public:
  // folder: where they go; it need not exist. info: one such as begin() will get; the files of its origins are hashed
  // in the background. damaged: files that do not count among those kept. All calls are collective over
  // optimizer.world(), and on all ranks in the same order. Throws Error on all where the ranks do not share the folder.
  Checkpointer(std::string folder, const Retention& keep, const Optimizer& optimizer, const CheckpointInfo& info,
               std::set<std::string> damaged = {});
  ~Checkpointer();  // gives up what is under way
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  // Waits for the checkpoint before, if that is still under way, and says so. What goes wrong is told, not thrown.
  void begin(const CheckpointInfo& info);
  // Once a step, at its end, and now and then in an evaluation.
  void poll();
  // Waits for what is under way. True on every rank if the last checkpoint that was begun, if any, is on disk under its
  // name.
  bool finish();
  // The step of the newest that is on disk under its name and not known to be damaged, on every rank; -1: none.
  std::int64_t newest();
  // Seconds until one that begins now is on disk, as long as the longest took so far (0 before the first), and what is
  // still under way before it likewise. On rank 0.
  double seconds_to_save() const;

 private:
  using Clock = std::chrono::steady_clock;

  // Elements of a tensor that this rank writes: where they lie in its states and in the staging memory.
  struct Piece {
    std::size_t tensor = 0, number = 0;
    std::size_t state = 0;
    std::int64_t begin = 0, size = 0;  // in the state's slice
    std::int64_t staged = 0;           // of its first array; the others follow
  };

  CheckpointLayout make_layout(const CheckpointInfo& info);
  void check_shared() const;
  void copy();
  std::vector<WeightOrigin> hash_origins(std::vector<WeightOrigin> origins) const;  // in the background
  std::string write(const CheckpointInfo& info);  // likewise; the reason of a failure, or nothing
  std::string commit();                           // likewise
  void conclude(int failed);
  void say_committed();
  void wait();

  const std::string folder_;
  const Retention keep_;
  std::set<std::string> damaged_;
  const Optimizer& optimizer_;
  Communicator& world_;
  std::vector<Piece> pieces_;  // of this rank
  std::int64_t staged_ = 0;    // elements
  CheckpointLayout layout_;

  std::int64_t step_ = 0;  // of the last that was begun
  bool under_way_ = false;
  bool saved_ = true;  // the last that was begun, on rank 0
  Tensor staging_;
  std::vector<WeightOrigin> origins_;   // with their hashes, once they are known
  std::optional<std::string> failure_;  // of this rank's part, once that has ended
  Clock::time_point began_;
  double stopped_ = 0;                   // seconds that training stood still
  double writing_ = 0, committing_ = 0;  // seconds of the last: the slowest rank's, rank 0's; set by their threads
  double longest_ = 0;                   // seconds that one took, both together, on rank 0
  std::atomic<bool> give_up_{false};
  std::future<std::vector<WeightOrigin>> hashed_;  // the last three: their threads end before the rest goes
  std::future<std::string> written_, committed_;
};

}  // namespace skymm
