// What stands beside the weights of a model in the folder that transformers loads.
#pragma once

#include <string>

#include "core/dtype.hpp"

namespace skymm {

// Configuration and tokenizer of the model at `base`, so that the folder `out` loads as it did: copies of its files,
// or, where it is a GGUF file and has them within, as transformers describes them. dtype: of the weights in `out`. Says
// on stdout where a GGUF file's tokenizer cannot be written.
void write_beside(const std::string& base, DType dtype, const std::string& out);

}  // namespace skymm
