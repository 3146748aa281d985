// Do all ranks call the same collective?
#pragma once

#include <string>
#include <vector>

#include "parallel/ledger.hpp"

namespace skymm {

// Whether all ranks compare each collective (its number, kind, type, size and root) before it begins; where they
// disagree, all throw an Error that says who called what. Each collective then waits for all ranks to begin it: slower,
// for finding such a fault. Of the whole process, off at first; all ranks must set it alike.
void set_check_collectives(bool on);
bool check_collectives();

// Throws Error unless all ranks called the same; calls[r] is what rank r called. The larger group, or that of the
// lowest rank, is taken to be right.
void check_agreement(const std::string& communicator, const std::vector<Call>& calls);

}  // namespace skymm
