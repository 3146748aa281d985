// Trainable weights without a model, in chunks, for tests of the optimizer: odd sizes, two that share memory, and
// gradients that every rank can make for any other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/parameter.hpp"
#include "support/support.hpp"

namespace skymm::testing {

class ScatteredWeights {
 public:
  explicit ScatteredWeights(DType dtype) {
    add("decoder.up.weight", random_tensor({13, 7}, dtype, 1), 0);
    add("decoder.norm.weight", random_tensor({5}, dtype, 2), 0);
    const Tensor both = random_tensor({6, 9}, dtype, 3);  // of one layer, as q and k are
    add("resampler.q.weight", both.slice(0, 0, 4), 1);
    add("resampler.k.weight", both.slice(0, 4, 6), 1);
    add("resampler.query", random_tensor({101}, dtype, 4), 1);
    add("resampler.scale", random_tensor({1}, dtype, 5), 1);
  }

  int size() const { return static_cast<int>(parameters_.size()); }
  Parameter& parameter(int i) { return *parameters_[static_cast<std::size_t>(i)].parameter; }
  const std::string& name(int i) const { return parameters_[static_cast<std::size_t>(i)].name; }

  std::vector<std::vector<NamedParameter>> chunks() const {
    std::vector<std::vector<NamedParameter>> chunks(2);
    for (std::size_t i = 0; i < parameters_.size(); ++i) chunks[chunk_of_[i]].push_back(parameters_[i]);
    return chunks;
  }
  std::vector<NamedParameter> all() const { return parameters_; }

  // What the micro-batch gives to the parameter on that rank; rank 1 never has a gradient for the first chunk, and no
  // rank ever has one for resampler.scale.
  Tensor gradient(int i, int step, int rank, int micro_batch) const {
    const auto at = static_cast<std::size_t>(i);
    const Shape& shape = parameters_[at].parameter->shape;
    if (parameters_[at].name == "resampler.scale" || (rank == 1 && chunk_of_[at] == 0)) return {};
    return random_tensor(shape, DType::f32,
                         static_cast<std::uint64_t>(i + 10 * (micro_batch + 10 * (rank + 10 * step))));
  }
  void add_gradients(std::size_t chunk, int step, int rank, int micro_batch) {
    for (int i = 0; i < size(); ++i) {
      if (chunk_of_[static_cast<std::size_t>(i)] != chunk) continue;
      const Tensor g = gradient(i, step, rank, micro_batch);
      if (g.defined()) parameter(i).gradient_sum().add(g);
    }
  }

 private:
  void add(const std::string& name, const Tensor& value, std::size_t chunk) {
    owners_.push_back(std::make_unique<Parameter>(value.shape()));
    owners_.back()->value = value;
    owners_.back()->trainable = true;
    parameters_.push_back({name, owners_.back().get()});
    chunk_of_.push_back(chunk);
  }

  std::vector<std::unique_ptr<Parameter>> owners_;
  std::vector<NamedParameter> parameters_;
  std::vector<std::size_t> chunk_of_;
};

}  // namespace skymm::testing
