// Texts from all ranks to all ranks.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"

namespace skymm {

// The text of each rank, in rank order, on every rank. Any bytes, of any length each.
std::vector<std::string> gather_text(Communicator& ranks, const std::string& mine);

}  // namespace skymm
