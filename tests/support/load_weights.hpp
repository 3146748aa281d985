// All weights of a model at once, as they are in files. (Training loads and freezes them block by block.)
#pragma once

#include <string>
#include <vector>

#include "launch/assembly/pretrained.hpp"

namespace skymm::testing {

inline void load_weights(Module& model, const std::vector<PretrainedPart>& parts,
                         const std::vector<std::string>& files = {}) {
  const WeightLoader loader(parts, files, 1);
  const std::vector<NamedParameter> all = all_parameters(model);
  loader.check_has(all);
  for (const NamedParameter& entry : all) loader.load(entry);
}

}  // namespace skymm::testing
