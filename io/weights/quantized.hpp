// Quantised weights in files. A weight `x` of few bits (core/quantized_tensor.hpp) is two to four tensors: x.codes (I8,
// or U8 with two codes a byte), x.scales (F32, or I8 with double quantisation), x.scale_steps and x.scale_offset (F32,
// with double quantisation alone); the metadata "quantized.x" says "int8" or "nf4" and the weight's shape: "nf4 5120
// 13824".
#pragma once

#include <functional>

#include "core/parameter.hpp"
#include "io/file.hpp"
#include "io/weights/safetensors.hpp"

namespace skymm {

// What a weight consists of, by the names above; a plain one of itself. `weight` is either.
NamedTensors stored_tensors(const std::string& name, const Tensor& value, const QuantizedTensor& codes);
inline NamedTensors stored_tensors(const std::string& name, const Parameter& parameter) {
  return stored_tensors(name, parameter.value, parameter.quantized);
}

// The key and the value of a quantised weight's metadata.
std::pair<std::string, std::string> quantized_metadata(const std::string& name, const QuantizedTensor& codes);

bool has_quantized(const WeightSource& file, const std::string& name);
// Of a weight, plain or quantised. Throws Error where the file has none of that name, or codes that are not of the
// shape that the metadata says.
std::vector<std::int64_t> weight_shape(const WeightSource& file, const std::string& name);
// Throws Error where parts of it are absent, or are not what its metadata says.
QuantizedTensor read_quantized(const WeightSource& file, const std::string& name);
// The names of the weights in a file, plain and quantised, each once, in the order of their bytes.
std::vector<std::string> weight_names(const WeightSource& file);

// A tensor of a file that is written piece by piece.
struct StreamedTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

// Writes a safetensors file whose tensors are never in memory together: all names, types and shapes first, then the
// tensors in that order. The file appears whole or not at all.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<StreamedTensor> plan,
                    const std::map<std::string, std::string>& metadata);
  // The next of the plan. Throws Error where it is another than planned.
  void write(const std::string& name, const Tensor& x);
  // Throws Error where tensors of the plan are missing.
  void commit();

 private:
  std::string path_;
  std::vector<StreamedTensor> plan_;
  AtomicFile file_;
  std::size_t next_ = 0;
};

}  // namespace skymm
