// Texts from rank to rank.
#pragma once

#include <string>
#include <vector>

#include "core/communicator.hpp"

namespace skymm {

// The text of each rank, in rank order, on every rank. Any bytes, of any length each.
std::vector<std::string> gather_text(Communicator& ranks, const std::string& mine);

// The text of rank `root`, on every rank.
std::string broadcast_text(Communicator& ranks, const std::string& text, int root = 0);

}  // namespace skymm
