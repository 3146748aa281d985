// What a run wrote down while it trained: metrics.jsonl, a JSON object a line (launch/training/run_log.hpp writes it).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/report/svg.hpp"

namespace skymm {

struct RunHistory {
  Points loss, learning_rate, gradient_norm, seconds, tokens, images;  // by step
  std::vector<Curve> figures;                                          // others by name: "validation loss", "lvm/..."
  std::int64_t last_step = 0;
  double total_seconds = 0;  // of all steps done, those done twice too
  std::int64_t skipped = 0;  // steps whose gradient was not finite
  std::int64_t bad_samples = 0, cut = 0;
  std::int64_t damaged_lines = 0;  // that are no JSON object with a step: left out
  int went_back = 0;               // times that a run resumed from before its last recorded step

  const Points* figure(const std::string& name) const;  // nullptr where there is none
};

// A run that resumed appends to the file: where its steps go back, what came after that step before is dropped. A file
// that is not there is an empty history.
RunHistory read_history(const std::string& path);

double sum_of(const Points& points);

}  // namespace skymm
