// `skymm train`: one training run, under mpirun, srun or alone.
#pragma once

#include <string>
#include <vector>

namespace skymm {

// The arguments after `train`. Returns the exit code.
int train_command(const std::vector<std::string>& arguments);

}  // namespace skymm
