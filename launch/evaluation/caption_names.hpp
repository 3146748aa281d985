// Stage 1's gate: does a caption name what is on the canvas?
#pragma once

#include <string>
#include <vector>

#include "launch/evaluation/run.hpp"

namespace skymm {

struct CaptionNames {
  std::int64_t named = 0;    // things that captions named
  std::int64_t right = 0;    // of them, those that are on the canvas (each thing on it counts once)
  std::int64_t present = 0;  // things on the canvases
  double precision() const { return named > 0 ? static_cast<double>(right) / static_cast<double>(named) : 0; }
  double recall() const { return present > 0 ? static_cast<double>(right) / static_cast<double>(present) : 0; }
};

// "top left: panda. right: red circle." -> {"panda", "red circle"}; the same in Chinese ("左上：熊猫。"). Texts are
// left out.
std::vector<std::string> names_in_caption(const std::string& caption, Language language);

// Captions of the picture samples (each holds one caption, the truth), written greedily, against the truth.
CaptionNames caption_names(Run& run, const std::vector<Sample>& samples, Language language);

}  // namespace skymm
