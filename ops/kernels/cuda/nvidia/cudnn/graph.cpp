#include "ops/kernels/cuda/nvidia/cudnn/graph.hpp"

#include "core/error.hpp"

namespace skymm::cuda::cudnn {
namespace {

// The configurations of engines that cuDNN proposes, the best first.
std::vector<Descriptor> proposals(const Descriptor& operations, cudnnBackendHeurMode_t mode, const Target& target) {
  constexpr std::int64_t most = 16;
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, &mode);
  if (target.properties != nullptr) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.properties);
  if (!heuristic.is_accepted()) return {};
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < most; ++i) {
    handles.push_back(found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).handle());
  }
  const std::int64_t count =
      heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.data(), most);
  while (static_cast<std::int64_t>(found.size()) > count) found.pop_back();
  return found;
}

bool is_deterministic(const Descriptor& engine_config) {
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.handle();
  engine_config.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &handle, 1);
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  const std::int64_t count = engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes.data(),
                                        static_cast<std::int64_t>(notes.size()));
  for (std::int64_t i = 0; i < count; ++i) {
    if (notes[static_cast<std::size_t>(i)] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
  }
  return true;
}

}  // namespace

void check_status(cudnnStatus_t status, const char* doing) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 1024> more{};
  cudnnGetLastErrorString(more.data(), more.size());
  fail("cuDNN: {}: {} ({})", doing, cudnnGetErrorString(status), more.data());
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check_status(cudnnBackendCreateDescriptor(type, &handle_), "making a descriptor");
}

void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* values,
                     std::int64_t count) {
  check_status(cudnnBackendSetAttribute(handle_, name, type, count, values), "describing an operation");
}

void Descriptor::finalize() { check_status(cudnnBackendFinalize(handle_), "describing an operation"); }

std::int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, void* values,
                             std::int64_t room) const {
  std::int64_t count = 0;
  check_status(cudnnBackendGetAttribute(handle_, name, type, room, &count, values), "asking for an attribute");
  return count;
}

Sizes row_major(const Sizes& sizes) { return {sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1}; }

Graph::Value Graph::add(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type,
                        cudnnBackendAttributeName_t kind) {
  const auto value = static_cast<Value>(tensors_.size());
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, value);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, sizes);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, steps);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16});
  if (kind != CUDNN_ATTR_TENSOR_UNIQUE_ID) tensor.set(kind, true);
  tensor.finalize();
  tensors_.push_back(std::move(tensor));
  sizes_.push_back(sizes);
  return value;
}

Graph::Value Graph::memory(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type) {
  return add(sizes, steps, type, CUDNN_ATTR_TENSOR_UNIQUE_ID);
}

Graph::Value Graph::inner(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type) {
  return add(sizes, steps, type, CUDNN_ATTR_TENSOR_IS_VIRTUAL);
}

Graph::Value Graph::inner(const Sizes& sizes, cudnnDataType_t type) { return inner(sizes, row_major(sizes), type); }

Graph::Value Graph::number(float value) {
  const Sizes one{1, 1, 1, 1};
  const Value made = add(one, one, CUDNN_DATA_FLOAT, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
  numbers_.emplace_back(made, std::make_unique<float>(value));
  return made;
}

void Graph::add_operation(Descriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void Graph::matmul(Value a, Value b, Value c) {
  Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, of(a));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, of(b));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, of(c));
  add_operation(std::move(operation));
}

void Graph::pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> from, Value to,
                      cudnnDataType_t computed_in, std::int64_t axis) {
  Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, &mode);
  how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, computed_in);
  if (axis >= 0) how.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
  how.finalize();
  constexpr std::array names{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_TDESC};
  Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  std::size_t i = 0;
  for (const Value value : from) operation.set(names.at(i++), of(value));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, of(to));
  add_operation(std::move(operation));
}

void Graph::reduce(cudnnReduceTensorOp_t operator_, Value from, Value to) {
  Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &operator_);
  how.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, of(from));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, of(to));
  add_operation(std::move(operation));
}

void Graph::reshape(Value from, Value to) {
  Descriptor operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, of(from));
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, of(to));
  add_operation(std::move(operation));
}

void Graph::convolve(Value x, Value w, Value y) {
  constexpr std::array<std::int64_t, 2> none{0, 0}, ones{1, 1};
  const Sizes& window = sizes_.at(static_cast<std::size_t>(w));
  const auto mode = CUDNN_CROSS_CORRELATION;
  const double alpha = 1, beta = 0;
  Descriptor& how = parts_.emplace_back(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, &mode);
  how.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  how.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, none);
  how.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, none);
  how.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, ones);
  how.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span(window).subspan(2));
  how.finalize();
  Descriptor operation(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, of(x));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, of(w));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, of(y));
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_DOUBLE, &alpha);
  operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_DOUBLE, &beta);
  add_operation(std::move(operation));
}

bool Plan::take(const Descriptor& engine_config) {
  auto plan = std::make_unique<Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan->set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine_config);
  if (!plan->is_accepted()) return false;
  plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, &workspace_bytes_, 1);
  plan_ = std::move(plan);
  return true;
}

std::unique_ptr<Plan> Plan::find(Graph graph, const Target& target) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Descriptor& operation : graph.operations_) handles.push_back(operation.handle());
  Descriptor operations(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (target.handle != nullptr) operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &target.handle);
  operations.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.data(),
                 static_cast<std::int64_t>(handles.size()));
  if (!operations.is_accepted()) return nullptr;
  std::unique_ptr<Plan> plan(new Plan(std::move(graph), std::move(operations)));
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& engine_config : proposals(plan->operations_, mode, target)) {
      if (is_deterministic(engine_config) && plan->take(engine_config)) return plan;
    }
  }
  return nullptr;
}

void Plan::run(cudnnHandle_t handle, std::initializer_list<Memory> memory, void* workspace) const {
  std::vector<std::int64_t> ids;
  std::vector<void*> pointers;
  for (const auto& [value, pointer] : memory) {
    ids.push_back(value);
    pointers.push_back(pointer);
  }
  for (const auto& [value, number] : graph_.numbers_) {
    ids.push_back(value);
    pointers.push_back(number.get());
  }
  const auto count = static_cast<std::int64_t>(ids.size());
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids.data(), count);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(), count);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &workspace);
  pack.finalize();
  check_status(cudnnBackendExecute(handle, plan_->handle(), pack.handle()), "running a plan");
}

}  // namespace skymm::cuda::cudnn
