// What a decoder's layer computes again in backward instead of keeping it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace skymm {

//   none           nothing
//   attention_mlp  what lies inside of attention and of the MLP; what goes into the two norms, and comes out, is kept
//   full           all but the layer's input
//
// The last product of what is computed again is left out: nobody reads what comes out the second time.
enum class Recompute : std::uint8_t { none, attention_mlp, full };

// "none", "attention+mlp", "full". Throws Error that lists them.
Recompute parse_recompute(std::string_view name);
std::string_view name_of(Recompute mode);
std::vector<std::string_view> recompute_names();

}  // namespace skymm
