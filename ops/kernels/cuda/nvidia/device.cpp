// A GPU by the CUDA runtime.
#include "ops/kernels/cuda/device.hpp"

#include <cuda_runtime.h>

#include <deque>
#include <vector>

#include "core/error.hpp"
#include "ops/kernels/cuda/environment.hpp"
#include "ops/kernels/cuda/runtime_error.hpp"

namespace skymm::cuda {
namespace {

// A point of the stream has an event of the runtime until it has passed; events are used again.
class NvidiaStream final : public Stream {
 public:
  explicit NvidiaStream(Device& device) : Stream(device) {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  ~NvidiaStream() override {
    cudaStreamSynchronize(stream_);  // an error was told to whoever waited
    for (const Point& point : points_) cudaEventDestroy(point.event);
    for (const cudaEvent_t event : spare_) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  void* native_handle() override { return stream_; }

  void enqueue(std::function<void()> work) override {
    auto* owned = new std::function<void()>(std::move(work));
    const auto run = [](void* data) {
      const std::unique_ptr<std::function<void()>> call(static_cast<std::function<void()>*>(data));
      (*call)();
    };
    const cudaError_t code = cudaLaunchHostFunc(stream_, run, owned);
    if (code != cudaSuccess) delete owned;
    check_cuda(code, "enqueuing work of the host");
  }

  Event record() override {
    drop_passed();
    cudaEvent_t event{};
    if (spare_.empty()) {
      check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    } else {
      event = spare_.back();
      spare_.pop_back();
    }
    check_cuda(cudaEventRecord(event, stream_), "recording an event");
    points_.push_back({++recorded_, event});
    return {this, recorded_};
  }

  void wait(const Event& event) override {
    if (event.stream == this) return;
    const cudaEvent_t native = static_cast<NvidiaStream*>(event.stream)->event_of(event.position);
    if (native != nullptr) check_cuda(cudaStreamWaitEvent(stream_, native, 0), "waiting for an event");
  }

  void synchronize() override { check_cuda(cudaStreamSynchronize(stream_), "the work of a stream"); }
  void synchronize_to(std::uint64_t position) override {
    const cudaEvent_t native = event_of(position);
    if (native != nullptr) check_cuda(cudaEventSynchronize(native), "the work of a stream");
  }

 private:
  struct Point {
    std::uint64_t position;
    cudaEvent_t event;
  };

  cudaEvent_t event_of(std::uint64_t position) const {  // null: it has passed
    for (const Point& point : points_) {
      if (point.position == position) return point.event;
    }
    return nullptr;
  }
  void drop_passed() {
    while (!points_.empty() && cudaEventQuery(points_.front().event) == cudaSuccess) {
      spare_.push_back(points_.front().event);
      points_.pop_front();
    }
  }

  cudaStream_t stream_ = nullptr;
  std::deque<Point> points_;
  std::vector<cudaEvent_t> spare_;
  std::uint64_t recorded_ = 0;
};

class NvidiaDevice final : public CudaDevice {
 public:
  explicit NvidiaDevice(int index) {
    check_cuda(cudaSetDevice(index), "choosing a GPU");
    cudaDeviceProp properties{};
    check_cuda(cudaGetDeviceProperties(&properties, index), "asking for a GPU's properties");
    check(properties.major >= 8, "{} has the compute capability {}.{}; the kernels need 8.0 (A100) or later",
          properties.name, properties.major, properties.minor);
    name_ = fmt::format("{} (CUDA device {})", properties.name, index);
    default_stream_ = make_stream();
  }

  std::string name() const override { return name_; }

  void* raw_allocate(std::size_t bytes) override {
    void* pointer = nullptr;
    const cudaError_t code = cudaMalloc(&pointer, bytes);
    if (code == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // not to be found by a later call
      return nullptr;
    }
    check_cuda(code, "allocating memory");
    return pointer;
  }
  void raw_release(void* pointer, std::size_t) override { check_cuda(cudaFree(pointer), "releasing memory"); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<NvidiaStream>(*this); }
  Stream& default_stream() override { return *default_stream_; }

 private:
  void copy_bytes(void* to, const void* from, std::size_t bytes, Stream& stream) override {
    check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, static_cast<cudaStream_t>(stream.native_handle())),
               "copying");
  }
  void* allocate_pinned(std::size_t bytes) override {
    void* pointer = nullptr;
    check_cuda(cudaMallocHost(&pointer, bytes), "allocating pinned memory");
    return pointer;
  }

  std::string name_;
  std::unique_ptr<Stream> default_stream_;
};

}  // namespace

Device& nvidia_device(int index) {
  static auto* device = [index] {
    configure_environment();
    int count = 0;
    const cudaError_t code = cudaGetDeviceCount(&count);
    check(code == cudaSuccess && count > 0, "no GPU that CUDA can use: {}; run with --device cpu",
          code == cudaSuccess ? "none is visible" : cudaGetErrorString(code));
    return new NvidiaDevice(index % count);
  }();
  return *device;
}

}  // namespace skymm::cuda
