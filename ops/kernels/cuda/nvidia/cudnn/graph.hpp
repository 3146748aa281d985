// A graph of operations that cuDNN computes as one, and the plan that it is run by: the descriptors of cuDNN's backend
// API behind values.
#pragma once

#include <cudnn_graph.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace skymm::cuda::cudnn {

void check_status(cudnnStatus_t status, const char* doing);

// Owns a descriptor.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor() {
    if (handle_ != nullptr) cudnnBackendDestroyDescriptor(handle_);
  }
  Descriptor(Descriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const void* values,
           std::int64_t count = 1);
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &value.handle_);
  }
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set(name, CUDNN_TYPE_DATA_TYPE, &value); }
  void set(cudnnBackendAttributeName_t name, bool value) { set(name, CUDNN_TYPE_BOOLEAN, &value); }
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, &value); }
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
    set(name, CUDNN_TYPE_INT64, values.data(), static_cast<std::int64_t>(values.size()));
  }
  void finalize();
  bool is_accepted() { return cudnnBackendFinalize(handle_) == CUDNN_STATUS_SUCCESS; }  // finalize, and ask

  // Not more than `values` has room for; how many there were.
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, void* values,
                   std::int64_t room) const;
  cudnnBackendDescriptor_t handle() const { return handle_; }

 private:
  cudnnBackendDescriptor_t handle_ = nullptr;
};

// What plans are made for: the GPU of a handle, or one that is described only.
struct Target {
  cudnnHandle_t handle = nullptr;
  const Descriptor* properties = nullptr;
};

using Sizes = std::array<std::int64_t, 4>;
Sizes row_major(const Sizes& sizes);  // steps, in elements

class Graph {
 public:
  using Value = std::int64_t;  // a tensor of the graph, of four dimensions

  Value memory(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type);  // given with each run
  Value inner(const Sizes& sizes, cudnnDataType_t type = CUDNN_DATA_FLOAT);    // never in memory
  Value inner(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type);
  Value number(float value);

  void matmul(Value a, Value b, Value c);
  // from: what the mode takes, x, b and t. axis: of CUDNN_POINTWISE_GEN_INDEX.
  void pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> from, Value to,
                 cudnnDataType_t computed_in = CUDNN_DATA_FLOAT, std::int64_t axis = -1);
  void reduce(cudnnReduceTensorOp_t operation, Value from, Value to);
  void reshape(Value from, Value to);
  // Windows of w's size beside each other.
  void convolve(Value x, Value w, Value y);

 private:
  friend class Plan;

  Value add(const Sizes& sizes, const Sizes& steps, cudnnDataType_t type, cudnnBackendAttributeName_t kind);
  void add_operation(Descriptor operation);
  const Descriptor& of(Value value) const { return tensors_.at(static_cast<std::size_t>(value)); }

  std::vector<Descriptor> tensors_;
  std::vector<Sizes> sizes_;
  std::vector<std::pair<Value, std::unique_ptr<float>>> numbers_;
  std::vector<Descriptor> parts_;  // what operations are made of
  std::vector<Descriptor> operations_;
};

class Plan {
 public:
  using Memory = std::pair<Graph::Value, void*>;

  // Null where cuDNN has no engine for the graph that computes the same bits each time.
  static std::unique_ptr<Plan> find(Graph graph, const Target& target);

  std::int64_t workspace_bytes() const { return workspace_bytes_; }
  // Enqueues on the handle's stream. memory: of each of the graph's.
  void run(cudnnHandle_t handle, std::initializer_list<Memory> memory, void* workspace) const;

 private:
  Plan(Graph graph, Descriptor operations) : graph_(std::move(graph)), operations_(std::move(operations)) {}
  bool take(const Descriptor& engine_config);

  Graph graph_;
  Descriptor operations_;
  std::unique_ptr<Descriptor> plan_;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace skymm::cuda::cudnn
