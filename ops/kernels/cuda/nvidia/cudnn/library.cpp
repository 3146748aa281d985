// cuDNN's part of a backend: plans are found once for each problem, and run on the current stream.
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "core/error.hpp"
#include "core/log.hpp"
#include "ops/kernels/cuda/cudnn.hpp"
#include "ops/kernels/cuda/nvidia/cudnn/graphs.hpp"
#include "ops/kernels/cuda/nvidia/cudnn/plan.hpp"

namespace skymm::cuda {
namespace {

using namespace cudnn;

constexpr std::size_t oldest = 91600;   // earlier ones need a mask for keys that are no multiple of 128
constexpr std::size_t most_plans = 64;  // of a kind: finding one takes a second or more
constexpr std::int64_t most_workspace = std::int64_t{256} << 20;

CudnnUses used;
std::mutex mutex;  // of all that is static below, and of the handle from the choice of its stream to the end of a call

cudnnHandle_t handle_on(Stream& stream) {
  static const cudnnHandle_t handle = [] {
    cudnnHandle_t made{};
    check_status(cudnnCreate(&made), "starting");
    return made;
  }();
  check_status(cudnnSetStream(handle, static_cast<cudaStream_t>(stream.native_handle())), "choosing a stream");
  return handle;
}

// False, and once in the log the reason why skymm's own kernel computes.
bool declined(const std::string& reason) {
  static std::set<std::string> said;
  if (said.insert(reason).second) log::info("cuDNN is not used for {}: skymm's own kernel is", reason);
  return false;
}

// The plans of a kind of problem that were found, or that there are not.
template <class Problem, class Memory>
class Plans {
 public:
  struct Entry {
    std::unique_ptr<Plan> plan;  // null: there is none
    Memory memory;
  };

  explicit Plans(const char* name) : name_(name) {}

  // Null where there is none.
  const Entry* find(const Problem& problem, cudnnHandle_t handle) {
    const auto known = entries_.find(problem);
    if (known != entries_.end()) return known->second.plan != nullptr ? &known->second : nullptr;
    if (entries_.size() == most_plans) {
      declined(fmt::format("{} of more than {} shapes", name_, most_plans));
      return nullptr;
    }
    const auto [graph, memory] = graph_of(problem);
    std::unique_ptr<Plan> plan = Plan::find(graph, {.handle = handle});
    if (plan == nullptr) {
      declined(fmt::format("{} of some shapes, for which it has no engine", name_));
    } else if (plan->workspace_bytes() > most_workspace) {
      declined(fmt::format("{} of some shapes, whose workspace would be {} MiB", name_, plan->workspace_bytes() >> 20));
      plan = nullptr;
    }
    const auto& entry = entries_.emplace(problem, Entry{std::move(plan), memory}).first->second;
    return entry.plan != nullptr ? &entry : nullptr;
  }

 private:
  const char* name_;
  std::map<Problem, Entry> entries_;
};

void enqueue(const Plan& plan, cudnnHandle_t handle, std::initializer_list<Plan::Memory> memory, Device& device) {
  const PurposeScope purpose(Purpose::workspace);
  const Tensor workspace = Tensor::empty({plan.workspace_bytes()}, DType::u8, device);
  plan.run(handle, memory, plan.workspace_bytes() > 0 ? workspace.raw() : nullptr);
}

bool is_aligned(const Tensor& x) {
  constexpr std::int64_t elements = 8;  // of bf16, in 16 bytes
  bool aligned = reinterpret_cast<std::uintptr_t>(x.raw()) % 16 == 0;
  for (int i = 0; i + 1 < x.rank(); ++i) aligned = aligned && x.stride(i) % elements == 0;
  return aligned;
}

// Why cuDNN does not take it; null where it may.
const char* obstacle(const AttentionShape& shape, std::initializer_list<const Tensor*> heads, const Tensor& logsumexp) {
  const Tensor &q = **heads.begin(), &k = **(heads.begin() + 1);
  const std::int64_t sequences = shape.query_offsets.dim(0) - 1;
  if (q.dtype() != DType::bf16) return "attention in f32";
  if (shape.key_lengths.defined()) return "attention over a cache of keys";
  if (q.dim(0) != sequences * shape.max_queries || k.dim(0) != sequences * shape.max_keys) {
    return "attention over sequences of different lengths";
  }
  if (shape.causal && shape.max_queries != shape.max_keys) return "causal attention to more or fewer keys than queries";
  if (shape.max_queries < 2 || shape.max_keys < 2) return "attention of single tokens";
  bool fits = logsumexp.is_contiguous() && q.dim(2) % 8 == 0;
  for (const Tensor* x : heads) fits = fits && is_aligned(*x);
  return fits ? nullptr : "attention whose heads are not aligned to 16 bytes";
}

HeadSteps steps_of(const Tensor& x) { return {x.stride(0), x.stride(1)}; }

AttentionSizes sizes_of(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                        const Tensor& out) {
  return {.sequences = shape.query_offsets.dim(0) - 1,
          .queries = shape.max_queries,
          .keys = shape.max_keys,
          .heads = q.dim(1),
          .kv_heads = k.dim(1),
          .width = q.dim(2),
          .causal = shape.causal,
          .scale = shape.scale,
          .q = steps_of(q),
          .k = steps_of(k),
          .v = steps_of(v),
          .out = steps_of(out)};
}

// cuDNN has statistics by heads, [sequences, heads, queries]; this is `by_tokens`, [tokens, heads], seen so.
Tensor seen_by_heads(const Tensor& by_tokens, const AttentionSizes& sizes) {
  return by_tokens.view({sizes.sequences, sizes.queries, sizes.heads}).transpose(1, 2);
}
Tensor statistics(const AttentionSizes& sizes, Device& device) {
  return Tensor::empty({sizes.sequences, sizes.heads, sizes.queries}, DType::f32, device);
}

Plans<AttentionSizes, AttentionMemory>& attention_plans(bool gradient) {
  static Plans<AttentionSizes, AttentionMemory> forward("attention"), backward("attention's gradient");
  return gradient ? backward : forward;
}

}  // namespace

void set_cudnn(const CudnnUses& uses) {
  check((!uses.attention && !uses.patch_embedding) || cudnnGetVersion() >= oldest,
        "cuDNN {} is installed; run.cudnn needs {} or later", cudnnGetVersion(), oldest);
  used = uses;
}

bool attention_by_cudnn(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                        const Tensor& out, const Tensor& logsumexp) {
  if (!used.attention) return false;
  const std::lock_guard lock(mutex);
  if (const char* why = obstacle(shape, {&q, &k, &v, &out}, logsumexp)) return declined(why);
  const AttentionSizes sizes = sizes_of(q, k, v, shape, out);
  Device& device = out.device();
  const cudnnHandle_t handle = handle_on(current_stream(device));
  const auto* found = attention_plans(false).find(sizes, handle);
  if (found == nullptr) return false;
  const PurposeScope purpose(Purpose::workspace);
  const Tensor by_heads = statistics(sizes, device);
  const AttentionMemory& m = found->memory;
  enqueue(*found->plan, handle,
          {{m.q, q.raw()}, {m.k, k.raw()}, {m.v, v.raw()}, {m.out, out.raw()}, {m.logsumexp, by_heads.raw()}}, device);
  seen_by_heads(logsumexp, sizes).copy_from(by_heads);
  return true;
}

bool attention_gradient_by_cudnn(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape,
                                 const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  if (!used.attention) return false;
  const std::lock_guard lock(mutex);
  if (const char* why = obstacle(shape, {&q, &k, &v, &out, &dout, &dq, &dk, &dv}, logsumexp)) return declined(why);
  AttentionSizes sizes = sizes_of(q, k, v, shape, out);
  sizes.gradient = true;
  sizes.dout = steps_of(dout);
  sizes.dq = steps_of(dq);
  sizes.dk = steps_of(dk);
  sizes.dv = steps_of(dv);
  Device& device = dq.device();
  const cudnnHandle_t handle = handle_on(current_stream(device));
  const auto* found = attention_plans(true).find(sizes, handle);
  if (found == nullptr) return false;
  const PurposeScope purpose(Purpose::workspace);
  const Tensor by_heads = statistics(sizes, device), delta = statistics(sizes, device);
  by_heads.copy_from(seen_by_heads(logsumexp, sizes));
  const AttentionMemory& m = found->memory;
  enqueue(*found->plan, handle,
          {{m.dout, dout.raw()},
           {m.q, q.raw()},
           {m.k, k.raw()},
           {m.v, v.raw()},
           {m.out, out.raw()},
           {m.logsumexp, by_heads.raw()},
           {m.delta, delta.raw()},
           {m.dq, dq.raw()},
           {m.dk, dk.raw()},
           {m.dv, dv.raw()}},
          device);
  return true;
}

bool patch_embedding_by_cudnn(const Tensor& pixels, std::int64_t patch, const Tensor& weight, const Tensor& bias,
                              const Tensor& y) {
  if (!used.patch_embedding) return false;
  const std::lock_guard lock(mutex);
  if (pixels.dtype() != DType::bf16) return declined("patch embedding in f32");
  bool fits = pixels.is_contiguous() && weight.is_contiguous() && y.is_contiguous() && y.dim(1) % 8 == 0;
  for (const Tensor* x : {&pixels, &weight, &bias, &y}) {
    if (x->defined()) fits = fits && x->dtype() == DType::bf16 && reinterpret_cast<std::uintptr_t>(x->raw()) % 16 == 0;
  }
  if (!fits) return declined("patch embedding of tensors that are not contiguous and aligned to 16 bytes");
  const PatchSizes sizes{pixels.dim(0), pixels.dim(1), pixels.dim(2), pixels.dim(3), patch, y.dim(1), bias.defined()};
  static Plans<PatchSizes, PatchMemory> plans("patch embedding");
  const cudnnHandle_t handle = handle_on(current_stream(y.device()));
  const auto* found = plans.find(sizes, handle);
  if (found == nullptr) return false;
  const PatchMemory& m = found->memory;
  if (sizes.bias) {
    enqueue(*found->plan, handle,
            {{m.pixels, pixels.raw()}, {m.weight, weight.raw()}, {m.bias, bias.raw()}, {m.y, y.raw()}}, y.device());
  } else {
    enqueue(*found->plan, handle, {{m.pixels, pixels.raw()}, {m.weight, weight.raw()}, {m.y, y.raw()}}, y.device());
  }
  return true;
}

}  // namespace skymm::cuda
