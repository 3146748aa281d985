#include "launch/config/version.hpp"

namespace skymm {

std::string code_version() {
  const std::string commit = SKYMM_COMMIT;
  return commit.empty() ? SKYMM_VERSION : SKYMM_VERSION " (" + commit + ")";
}

}  // namespace skymm
