// Initial weights. Each parameter has a random stream of its own, named by the seed and its qualified name, so that
// they are the same however a model is cut over ranks.
#pragma once

#include <string>
#include <string_view>

#include "core/parameter.hpp"
#include "core/random.hpp"

namespace skymm {

// FNV-1a; the same on every machine.
std::uint64_t stable_hash(std::string_view text);

// By the parameter's name and shape:
//   ...lora_A.weight      uniform in +-1 / sqrt(in): Kaiming's with a = sqrt 5
//   ...lora_B.weight      zero
//   vectors               weights (of norms) one, biases zero, others (a class token) normal of deviation 0.02
//   embed_tokens          normal of deviation 2 / sqrt(width)
//   other tables, queries normal of deviation 0.02
//   o_proj, down_proj     normal of deviation 1 / (4 sqrt(in)): they write to the residual stream
//   other matrices        normal of deviation 1 / sqrt(in)
// Quantised ones get the nearest codes; those without any value (packed away) are left alone.
void initialize(const std::string& name, Parameter& parameter, std::uint64_t seed);
void initialize(Module& module, std::uint64_t seed);

// Gives a parameter its value: converted to its dtype, or brought into few bits where its layer keeps it so. Stored
// codes of the same format are taken as they are; others are dequantised first. Throws Error for another shape, and for
// a parameter that was packed away.
void load(Parameter& parameter, const Tensor& value);
void load(Parameter& parameter, const QuantizedTensor& value);

}  // namespace skymm
