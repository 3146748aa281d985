// One run at a time in a run directory: two would remove each other's checkpoints.
#pragma once

#include <string>

#include "core/error.hpp"

namespace skymm {

class RunInUse : public Error {
 public:
  using Error::Error;
};

// A lock of the file run.lock, which ends with the process however that ends. Rank 0 of a run holds it.
class RunLock {
 public:
  // Makes the directory where it is missing. Throws RunInUse where another process holds it, and says which. Where the
  // file system has no locks, it warns.
  explicit RunLock(const std::string& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

}  // namespace skymm
