// `skymm eval`: how well a run answers. Under mpirun the ranks share the questions; rank 0 prints and writes.
//
//   mme      MME's yes/no questions about pictures, or result files that exist already
//   scenes   text-only questions about held-out scenes
//   answers  the questions of a data set, word for word
//   names    the things that captions name (stage 1's gate)
//
// Figures go to RUN/eval/<what>.json beside the table on the terminal.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `eval`. Returns the exit code; throws UsageError for arguments that make no sense.
int eval_command(const std::vector<std::string>& arguments);

}  // namespace skymm
