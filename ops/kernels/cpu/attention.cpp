// Attention as tasks over (sequence, key head, block of queries). The tasks depend on the shapes alone, and parts of a
// sum are added in a fixed order, so results are the same for any number of threads.
#include <algorithm>
#include <vector>

#include "core/error.hpp"
#include "ops/kernels/cpu/attention_tile.hpp"
#include "ops/kernels/cpu/backend.hpp"
#include "ops/kernels/cpu/launch.hpp"

namespace skymm {
namespace {

// The tasks in the order of sequences, then key heads, then queries.
struct Tasks {
  std::vector<AttentionTask> all;
  std::vector<std::size_t> first;  // of each (sequence, key head), and the end
};

// A sequence's queries in pieces of at most `most`.
Tasks tasks_of(const char* primitive, const AttentionShape& shape, const Tensor& q, const Tensor& k,
               std::int64_t most) {
  const auto* queries = shape.query_offsets.data<std::int32_t>();
  const auto* keys = shape.key_offsets.data<std::int32_t>();
  const auto* lengths = shape.key_lengths.defined() ? shape.key_lengths.data<std::int32_t>() : nullptr;
  const std::int64_t sequences = shape.query_offsets.dim(0) - 1;
  Tasks tasks;
  for (std::int64_t s = 0; s < sequences; ++s) {
    check(queries[s] >= 0 && queries[s] <= queries[s + 1] && queries[s + 1] <= q.dim(0) && keys[s] >= 0 &&
              keys[s] <= keys[s + 1] && keys[s + 1] <= k.dim(0),
          "{}: sequence {} has queries [{}, {}) of {} and keys [{}, {}) of {}", primitive, s, queries[s],
          queries[s + 1], q.dim(0), keys[s], keys[s + 1], k.dim(0));
    const std::int32_t seen = lengths != nullptr ? lengths[s] : keys[s + 1] - keys[s];
    check(seen >= 0 && seen <= keys[s + 1] - keys[s], "{}: sequence {} has {} keys, but room for {}", primitive, s,
          seen, keys[s + 1] - keys[s]);
    const std::int64_t block = even_pieces(queries[s + 1] - queries[s], most);
    for (std::int64_t head = 0; head < k.dim(1); ++head) {
      tasks.first.push_back(tasks.all.size());
      for (std::int64_t first = queries[s]; first < queries[s + 1]; first += block) {
        tasks.all.push_back({first, std::min<std::int64_t>(first + block, queries[s + 1]), queries[s],
                             queries[s + 1] - queries[s], keys[s], seen, head});
      }
    }
  }
  tasks.first.push_back(tasks.all.size());
  return tasks;
}

// Rough operations of all tasks, for the choice between one thread and all. A query meets a key in width / 8, and the
// sum over the lanes of a vector takes as long as 16 more.
std::int64_t work_of(const std::vector<AttentionTask>& tasks, const AttentionProblem& p) {
  std::int64_t meetings = 0;
  for (const AttentionTask& t : tasks) meetings += (t.query_end - t.query_begin) * p.group * (t.keys + 1);
  return meetings * (p.width / 8 + 16);
}

// dk or dv of one sequence and head: the parts of its tasks, added in order.
void store_sum(const std::vector<const float*>& parts, std::int64_t keys, std::int64_t width, const Tensor& to,
               std::int64_t key_begin, std::int64_t head) {
  visit_dtype(to.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (std::int64_t i = 0; i < keys; ++i) {
      T* row = static_cast<T*>(to.raw()) + (key_begin + i) * to.stride(0) + head * to.stride(1);
      const std::int64_t at = i * padded_width(width);
      for (std::int64_t j = 0; j < width; ++j) {
        float sum = 0;
        for (const float* part : parts) sum += part[at + j];
        row[j] = static_cast<T>(sum);
      }
    }
  });
}

}  // namespace

void CpuKernels::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape, Tensor out,
                           Tensor logsumexp) {
  const AttentionProblem problem = attention_problem("attention", q, k, v, shape, out, logsumexp);
  if (out.numel() == 0) return;
  launch(out, [q, k, v, shape, out, logsumexp, problem] {
    const std::int64_t block = std::max<std::int64_t>(1, attention_block_rows / problem.group);
    const std::vector<AttentionTask> tasks = tasks_of("attention", shape, q, k, block).all;
    parallel_for(static_cast<std::int64_t>(tasks.size()), work_of(tasks, problem),
                 [&](std::int64_t i) { attention_forward_task(problem, tasks[i]); });
  });
}

void CpuKernels::attention_gradient(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& out, const Tensor& logsumexp, const AttentionShape& shape, Tensor dq,
                                    Tensor dk, Tensor dv) {
  const char* const name = "attention_gradient";
  const AttentionProblem problem = attention_gradient_problem(dout, q, k, v, out, logsumexp, shape, dq, dk, dv);
  if (q.numel() == 0 && k.numel() == 0) return;
  launch(dq, [q, k, v, shape, out, logsumexp, dout, dq, dk, dv, problem, name] {
    // Enough tasks for many threads, but not more: each has its own part of dk and dv.
    constexpr std::int64_t wanted_tasks = 32, least_queries = 128;
    const std::int64_t sequences = shape.query_offsets.dim(0) - 1, heads = k.dim(1);
    const std::int64_t splits = std::max<std::int64_t>(1, wanted_tasks / std::max<std::int64_t>(1, sequences * heads));
    const std::int64_t block = std::max(least_queries, (shape.max_queries + splits - 1) / splits);
    const Tasks of_all = tasks_of(name, shape, q, k, block);
    const std::vector<AttentionTask>& tasks = of_all.all;

    const std::int64_t step = padded_width(problem.width);
    std::vector<std::int64_t> at(tasks.size() + 1);
    for (std::size_t i = 0; i < tasks.size(); ++i) at[i + 1] = at[i] + 2 * tasks[i].keys * step;
    Tensor parts;
    {
      const PurposeScope purpose(Purpose::workspace);
      parts = Tensor::empty({at.back()}, DType::f32);
    }
    const std::int64_t work = 2 * work_of(tasks, problem);
    parallel_for(static_cast<std::int64_t>(tasks.size()), work, [&](std::int64_t i) {
      float* part = parts.data<float>() + at[i];
      attention_backward_task(problem, tasks[i], part, part + tasks[i].keys * step);
    });

    const auto* keys = shape.key_offsets.data<std::int32_t>();
    parallel_for(sequences * heads, work, [&](std::int64_t i) {
      const std::int64_t sequence = i / heads, head = i % heads;
      const std::int64_t count = keys[sequence + 1] - keys[sequence];
      std::vector<const float*> of_k, of_v;
      for (std::size_t j = of_all.first[i]; j < of_all.first[i + 1]; ++j) {
        of_k.push_back(parts.data<float>() + at[j]);
        of_v.push_back(of_k.back() + count * step);
      }
      store_sum(of_k, count, problem.width, dk, keys[sequence], head);
      store_sum(of_v, count, problem.width, dv, keys[sequence], head);
    });
  });
}

}  // namespace skymm
