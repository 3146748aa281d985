#include "ops/kernels/cuda/nvidia/cudnn/graph.hpp"

namespace skymm::cuda::cudnn {

Sizes row_major(const Sizes& sizes) { return {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1}; }

Graph::Value Graph::add(const Operand& operand) {
  operands_.push_back(operand);
  return static_cast<Value>(operands_.size()) - 1;
}

Graph::Value Graph::memory(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type) {
  return add({Operand::Place::memory, sizes, steps, type});
}

Graph::Value Graph::inner(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type) {
  return add({Operand::Place::inner, sizes, steps, type});
}

Graph::Value Graph::inner(const Sizes& sizes, cudnnDataType_t type) { return inner(sizes, row_major(sizes), type); }

Graph::Value Graph::number(float value) {
  return add({Operand::Place::number, {1, 1, 1, 1}, {1, 1, 1, 1}, CUDNN_DATA_FLOAT, value});
}

void Graph::matmul(Value a, Value b, Value c) { operations_.push_back({Operation::Kind::matmul, {a, b}, c}); }

void Graph::pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> from, Value to,
                      cudnnDataType_t computed_in, std::int64_t axis) {
  operations_.push_back({.kind = Operation::Kind::pointwise,
                         .from = from,
                         .to = to,
                         .mode = mode,
                         .computed_in = computed_in,
                         .axis = axis});
}

void Graph::reduce(cudnnReduceTensorOp_t reduction, Value from, Value to) {
  operations_.push_back({.kind = Operation::Kind::reduce, .from = {from}, .to = to, .reduction = reduction});
}

void Graph::reshape(Value from, Value to) { operations_.push_back({Operation::Kind::reshape, {from}, to}); }

void Graph::convolve(Value x, Value window, Value y) {
  operations_.push_back({Operation::Kind::convolve, {x, window}, y});
}

}  // namespace skymm::cuda::cudnn
