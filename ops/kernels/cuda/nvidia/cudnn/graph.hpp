// A graph of operations that cuDNN computes as one, as a value: plan.hpp makes cuDNN's descriptors of it.
#pragma once

#include <cudnn_graph.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace skymm::cuda::cudnn {

using Sizes = std::array<std::int64_t, 4>;
Sizes row_major(const Sizes& sizes);  // steps, in elements

class Graph {
 public:
  using Value = std::int64_t;  // a tensor of the graph, by number

  struct Operand {
    enum class Place : std::uint8_t { memory, inner, number } place;
    Sizes sizes, steps;
    cudnnDataType_t type;
    float number = 0;
  };
  struct Operation {
    enum class Kind : std::uint8_t { matmul, pointwise, reduce, reshape, convolve } kind;
    std::vector<Value> from;
    Value to;
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
    cudnnReduceTensorOp_t reduction = CUDNN_REDUCE_TENSOR_ADD;
    cudnnDataType_t computed_in = CUDNN_DATA_FLOAT;
    std::int64_t axis = -1;  // of CUDNN_POINTWISE_GEN_INDEX
  };

  Value memory(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type);  // given with each run
  Value inner(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type);   // never in memory
  Value inner(const Sizes& sizes, cudnnDataType_t type = CUDNN_DATA_FLOAT);
  Value number(float value);

  // Where b has fewer heads (its second size) than a, consecutive ones of a share one of b.
  void matmul(Value a, Value b, Value c);
  // from: what the mode takes, x, b and t.
  void pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> from, Value to,
                 cudnnDataType_t computed_in = CUDNN_DATA_FLOAT, std::int64_t axis = -1);
  // Over the dimensions of which `to` has fewer, consecutive ones together.
  void reduce(cudnnReduceTensorOp_t reduction, Value from, Value to);
  void reshape(Value from, Value to);             // other sizes and steps of the same memory
  void convolve(Value x, Value window, Value y);  // windows lie side by side

  const std::vector<Operand>& operands() const { return operands_; }  // by value
  const std::vector<Operation>& operations() const { return operations_; }

 private:
  Value add(const Operand& operand);

  std::vector<Operand> operands_;
  std::vector<Operation> operations_;
};

}  // namespace skymm::cuda::cudnn
