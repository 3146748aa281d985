#include "ops/kernels/cuda/nvidia/cudnn/plan.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace skymm::cuda::cudnn {
namespace {

using Place = Graph::Operand::Place;
using Kind = Graph::Operation::Kind;

Descriptor tensor(Graph::Value id, const Graph::Operand& x) {
  Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, x.type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, x.sizes);
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, x.steps);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16});
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, x.place == Place::inner);
  tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, x.place == Place::number);
  tensor.finalize();
  return tensor;
}

// How an operation computes, apart from its tensors. A reshape has none.
Descriptor matmul() {
  Descriptor how(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  return how;
}
Descriptor pointwise(const Graph::Operation& operation) {
  Descriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, &operation.mode);
  how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, operation.computed_in);
  if (operation.axis >= 0) how.set(CUDNN_ATTR_POINTWISE_AXIS, operation.axis);
  how.finalize();
  return how;
}
Descriptor reduction(const Graph::Operation& operation) {
  Descriptor how(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &operation.reduction);
  how.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  return how;
}
Descriptor convolution(const Sizes& window) {
  constexpr std::array<std::int64_t, 2> none{0, 0}, ones{1, 1};
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  Descriptor how(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  how.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, &mode);
  how.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t{2});
  how.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, none);
  how.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, none);
  how.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, ones);
  how.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span(window).subspan(2));
  how.finalize();
  return how;
}

Descriptor how_of(const Graph::Operation& operation, const Graph& graph) {
  switch (operation.kind) {
    case Kind::matmul:
      return matmul();
    case Kind::pointwise:
      return pointwise(operation);
    case Kind::reduce:
      return reduction(operation);
    default:
      return convolution(graph.operands().at(static_cast<std::size_t>(operation.from[1])).sizes);
  }
}

// The names of what an operation reads, in the order of Operation::from, and of what it writes.
struct Names {
  cudnnBackendDescriptorType_t type;
  std::array<cudnnBackendAttributeName_t, 3> from;
  cudnnBackendAttributeName_t to, how;
};
Names names_of(Kind kind) {
  switch (kind) {
    case Kind::matmul:
      return {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC},
              CUDNN_ATTR_OPERATION_MATMUL_CDESC,
              CUDNN_ATTR_OPERATION_MATMUL_DESC};
    case Kind::pointwise:
      return {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
               CUDNN_ATTR_OPERATION_POINTWISE_TDESC},
              CUDNN_ATTR_OPERATION_POINTWISE_YDESC,
              CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR};
    case Kind::reduce:
      return {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_REDUCTION_XDESC},
              CUDNN_ATTR_OPERATION_REDUCTION_YDESC,
              CUDNN_ATTR_OPERATION_REDUCTION_DESC};
    case Kind::reshape:
      return {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_RESHAPE_XDESC},
              CUDNN_ATTR_OPERATION_RESHAPE_YDESC,
              {}};
    default:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W},
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC};
  }
}

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

void Descriptor::set(cudnnBackendAttributeName_t name, std::span<const Descriptor> values) {
  std::vector<cudnnBackendDescriptor_t> handles;
  for (const Descriptor& value : values) handles.push_back(value.handle());
  set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.data(), static_cast<std::int64_t>(handles.size()));
}

void Descriptor::finalize() { check_status(cudnnBackendFinalize(handle_), "describing an operation"); }

std::int64_t Descriptor::get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, void* values,
                             std::int64_t room) const {
  std::int64_t count = 0;
  check_status(cudnnBackendGetAttribute(handle_, name, type, room, &count, values), "asking for an attribute");
  return std::min(count, room);
}

Plan::Described Plan::describe(const Graph& graph) {
  Described described;
  for (const Graph::Operand& x : graph.operands()) {
    described.tensors.push_back(tensor(static_cast<Graph::Value>(described.tensors.size()), x));
  }
  const auto of = [&](Graph::Value value) -> const Descriptor& {
    return described.tensors.at(static_cast<std::size_t>(value));
  };
  for (const Graph::Operation& from : graph.operations()) {
    const Names names = names_of(from.kind);
    Descriptor operation(names.type);
    if (from.kind != Kind::reshape) {
      described.parts.push_back(how_of(from, graph));
      operation.set(names.how, described.parts.back());
    }
    for (std::size_t i = 0; i < from.from.size(); ++i) operation.set(names.from.at(i), of(from.from[i]));
    operation.set(names.to, of(from.to));
    if (from.kind == Kind::convolve) {
      constexpr double one = 1, zero = 0;
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_DOUBLE, &one);
      operation.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_DOUBLE, &zero);
    }
    operation.finalize();
    described.operations.push_back(std::move(operation));
  }
  return described;
}

Plan::Plan(const Graph& graph, Described described, Descriptor operations)
    : described_(std::move(described)), operations_(std::move(operations)) {
  for (std::size_t i = 0; i < graph.operands().size(); ++i) {
    const Graph::Operand& x = graph.operands()[i];
    if (x.place == Place::number) numbers_.emplace_back(static_cast<Graph::Value>(i), x.number);
  }
}

bool Plan::take(const Descriptor& engine_config) {
  auto plan = std::make_unique<Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan->set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine_config);
  if (!plan->is_accepted()) return false;
  plan->get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, &workspace_bytes_, 1);
  plan_ = std::move(plan);
  return true;
}

std::unique_ptr<Plan> Plan::find(const Graph& graph, const Target& target) {
  Described described = describe(graph);
  Descriptor operations(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (target.handle != nullptr) operations.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &target.handle);
  operations.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, described.operations);
  if (!operations.is_accepted()) return nullptr;
  std::unique_ptr<Plan> plan(new Plan(graph, std::move(described), std::move(operations)));
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& engine_config : proposals(plan->operations_, mode, target)) {
      if (is_deterministic(engine_config) && plan->take(engine_config)) return plan;
    }
  }
  return nullptr;
}

void Plan::run(cudnnHandle_t handle, std::initializer_list<Memory> memory, void* workspace) const {
  std::vector<std::int64_t> ids;
  std::vector<const void*> pointers;
  for (const auto& [value, pointer] : memory) {
    ids.push_back(value);
    pointers.push_back(pointer);
  }
  for (const auto& [value, number] : numbers_) {
    ids.push_back(value);
    pointers.push_back(&number);
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
