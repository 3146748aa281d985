// `skymm data build negatives`, `skymm data build mismatched` and `skymm data translate`: data sets made of data sets.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after the verb. Return the exit code.
int build_negatives_command(const std::vector<std::string>& arguments);
int build_mismatched_command(const std::vector<std::string>& arguments);
int translate_command(const std::vector<std::string>& arguments);

}  // namespace skymm
