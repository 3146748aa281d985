// What cuDNN runs a graph by: an engine, and what it has compiled for these sizes. The descriptors of cuDNN's backend
// API behind values.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "ops/kernels/cuda/nvidia/cudnn/graph.hpp"

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
  void set(cudnnBackendAttributeName_t name, std::span<const Descriptor> values);
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set(name, CUDNN_TYPE_DATA_TYPE, &value); }
  void set(cudnnBackendAttributeName_t name, bool value) { set(name, CUDNN_TYPE_BOOLEAN, &value); }
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, &value); }
  void set(cudnnBackendAttributeName_t name, std::span<const std::int64_t> values) {
    set(name, CUDNN_TYPE_INT64, values.data(), static_cast<std::int64_t>(values.size()));
  }
  void finalize();
  bool is_accepted() { return cudnnBackendFinalize(handle_) == CUDNN_STATUS_SUCCESS; }  // finalize, and ask

  // How many there are; `values` gets as many as it has room for.
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

class Plan {
 public:
  using Memory = std::pair<Graph::Value, void*>;

  // Null where cuDNN has no engine for the graph that computes the same bits each time.
  static std::unique_ptr<Plan> find(const Graph& graph, const Target& target);

  std::int64_t workspace_bytes() const { return workspace_bytes_; }
  // Enqueues on the handle's stream. memory: of each of the graph's.
  void run(cudnnHandle_t handle, std::initializer_list<Memory> memory, void* workspace) const;

 private:
  // The descriptors of a graph, which a plan refers to.
  struct Described {
    std::vector<Descriptor> tensors, parts, operations;
  };
  static Described describe(const Graph& graph);

  Plan(const Graph& graph, Described described, Descriptor operations);
  bool take(const Descriptor& engine_config);

  Described described_;
  Descriptor operations_;
  std::unique_ptr<Descriptor> plan_;
  std::int64_t workspace_bytes_ = 0;
  std::vector<std::pair<Graph::Value, float>> numbers_;
};

}  // namespace skymm::cuda::cudnn
