// A copy of a data set some of whose pictures have another picture's text, as pairs from the web do.
#pragma once

#include <cstdint>
#include <string>

namespace skymm {

struct MismatchedOptions {
  std::string input, output;
  double share = 0.5;  // of the samples: whether one gives its text away is drawn for each
  std::uint64_t seed = 1;
};

struct MismatchedResult {
  std::int64_t samples = 0, mismatched = 0;
};

// Samples whose parts are of the same kinds, in one order and one language, hand their texts on in a random circle;
// ids, pictures and order stay. The annotations of a sample with another's text say {"text_of": its id}. Holds 8 to
// 16 bytes a sample in memory. Throws Error where the share is not in [0, 1].
MismatchedResult build_mismatched(const MismatchedOptions& options);

}  // namespace skymm
