// A temporary folder that all ranks use; rank 0 makes it, and it goes when all have come to its end.
#pragma once

#include <memory>
#include <string>

#include "parallel/gather_text.hpp"
#include "support/mpi_main.hpp"
#include "support/text.hpp"

namespace skymm::testing {

class SharedFolder {
 public:
  SharedFolder() {
    if (ranks().rank() == 0) own_ = std::make_unique<TemporaryFolder>();
    path_ = broadcast_text(ranks(), own_ ? own_->path() : "");
  }
  ~SharedFolder() { ranks().barrier(); }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::unique_ptr<TemporaryFolder> own_;  // of rank 0
  std::string path_;
};

}  // namespace skymm::testing
