// Which skymm this is.
#pragma once

#include <string>

namespace skymm {

// "0.1.0 (3f2a91c)": the version, and the commit it was built from where that is known.
std::string code_version();

}  // namespace skymm
