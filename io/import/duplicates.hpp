// Samples whose pictures came before in a set, found by the pictures' hashes without holding all of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skymm {

// shards: paths, in the order of the set. For each shard, the samples (ascending) that have pictures, and of whose
// pictures each came with an earlier sample. About 64 MiB of memory, whatever the size of the set.
std::vector<std::vector<std::int64_t>> find_duplicates(const std::vector<std::string>& shards);

}  // namespace skymm
