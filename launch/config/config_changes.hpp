// What differs between two resolved configs, such as that of a checkpoint and that of the run which goes on from it.
#pragma once

#include <string>
#include <vector>

namespace skymm {

struct ConfigChange {
  std::string option;  // "train.global_batch"
  std::string before, now;
  std::string str() const;  // "train.global_batch 32, now 64"
};

// Both as to_ini() writes them. An option that only one of them has is not listed: another version knew others.
std::vector<ConfigChange> config_changes(const std::string& before, const std::string& now);

}  // namespace skymm
