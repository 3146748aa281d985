#include "parallel/zero/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "core/progress.hpp"
#include "core/trace.hpp"
#include "ops/kernels/kernels.hpp"
#include "parallel/zero/chunk.hpp"

namespace skymm {
namespace {

constexpr std::int64_t most_elements = std::numeric_limits<std::int64_t>::max();

}  // namespace

Optimizer::Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& world)
    : Optimizer(std::vector<std::vector<NamedParameter>>{std::move(parameters)}, options, ZeroOptions{}, world, world) {
}

Optimizer::Optimizer(std::vector<std::vector<NamedParameter>> chunks, const OptimizerOptions& options,
                     const ZeroOptions& zero, Communicator& data, Communicator& world)
    : options_(options),
      overlap_(zero.overlap),
      updated_together_(zero.overlap && zero.stage > 0 ? zero.bucket_bytes / 4 / data.size() : most_elements),
      world_(world),
      reductions_(std::make_unique<Reductions>(zero.overlap)) {
  check(zero.stage >= 0 && zero.stage <= 3, "there is no ZeRO stage {}; use 0, 1, 2 or 3", zero.stage);
  check(zero.bucket_bytes >= 4, "a bucket of {} bytes holds no gradient; use 4 or more", zero.bucket_bytes);
  std::vector<std::pair<std::size_t, ZeroChunk::Owned>> owned;  // and its chunk
  for (std::vector<NamedParameter>& parameters : chunks) {
    chunks_.push_back(std::make_unique<ZeroChunk>(std::move(parameters), zero, data, *reductions_));
    for (ZeroChunk::Owned& mine : chunks_.back()->owned()) owned.emplace_back(chunks_.size() - 1, std::move(mine));
  }
  std::ranges::sort(owned, {}, [](const auto& mine) {
    const Slice& slice = mine.second.state.slice;
    return std::tie(slice.tensor, slice.begin);
  });
  std::vector<Slice> slices;
  order_.resize(chunks_.size());
  for (auto& [chunk, mine] : owned) {
    slices.push_back(mine.state.slice);
    states_.push_back(std::move(mine.state));
    order_[chunk].push_back(updates_.size());
    updates_.push_back({std::move(mine.gradient), std::move(mine.value), -1, mine.end});
  }
  for (auto& order : order_) std::ranges::sort(order, {}, [this](std::size_t i) { return updates_[i].end; });
  tensors_ = spread_tensors(slices, world);
  find_squares();
}

Optimizer::~Optimizer() = default;

void Optimizer::find_squares() {
  std::map<std::pair<std::string, std::int64_t>, std::size_t> mine;
  for (std::size_t i = 0; i < states_.size(); ++i) mine[{states_[i].slice.tensor, states_[i].slice.begin}] = i;
  for (const SpreadTensor& tensor : tensors_) {
    for (const Holder& holder : tensor.holders) {
      if (!holder.speaks) continue;
      if (holder.rank == world_.rank()) updates_[mine.at({tensor.name, holder.slice.begin})].square = squares_;
      ++squares_;
    }
  }
}

ZeroChunk& Optimizer::chunk(int i) const {
  check(i >= 0 && i < static_cast<int>(chunks_.size()), "there is no chunk {} among {}", i, chunks_.size());
  return *chunks_[static_cast<std::size_t>(i)];
}

void Optimizer::gather_weights(int i) { chunk(i).gather_weights(); }
void Optimizer::wait_weights(int i) { chunk(i).wait_weights(); }
void Optimizer::release_weights(int i) { chunk(i).release_weights(); }
void Optimizer::reduce_gradients(int i, bool last) { chunk(i).reduce_gradients(last); }
void Optimizer::complete_gradient(int i, const Parameter& parameter) { chunk(i).complete_gradient(parameter); }

// The square of every slice, on the ranks that speak for them, then added up in the order of names and elements by
// all. A slice is summed in fixed blocks; where the slices' borders fall changes no more than the rounding of f64.
double Optimizer::gradient_norm() const {
  if (squares_ == 0) return 0;
  Device& device = updates_.empty() ? cpu() : updates_[0].gradient.device();
  const Tensor squares = Tensor::zeros({squares_}, DType::f64, device);
  std::vector<Tensor> gradients, sums;
  for (const Update& update : updates_) {
    if (update.square < 0) continue;
    gradients.push_back(update.gradient);
    sums.push_back(squares.slice(0, update.square, update.square + 1));
  }
  kernels(device).sum_of_squares(gradients, sums);
  world_.all_reduce(squares);
  double sum = 0;
  for (const double square : squares.to_vector<double>()) sum += square;
  return std::sqrt(sum);
}

void Optimizer::update(const StepReport& report, float learning_rate, double weight) {
  const bool clip = options_.clip_norm > 0 && report.gradient_norm > options_.clip_norm;
  AdamW adamw{learning_rate, options_.beta1, options_.beta2, options_.epsilon, options_.weight_decay, steps_, 1.0F};
  adamw.gradient_scale = static_cast<float>((clip ? options_.clip_norm / report.gradient_norm : 1.0) / weight);
  for (std::size_t chunk = 0; chunk < chunks_.size(); ++chunk) {  // on all ranks in this order, whatever they own
    std::vector<AdamWTensors> next;
    std::int64_t elements = 0;
    for (const std::size_t i : order_[chunk]) {
      const State& state = states_[i];
      const Update& update = updates_[i];
      next.push_back({state.master, state.m, state.v, update.gradient, update.value, state.slice.shape.rank() >= 2});
      elements += state.master.numel();
      if (elements < updated_together_ && i != order_[chunk].back()) continue;
      kernels(state.master).adamw(next, adamw);
      made_progress();
      if (overlap_) chunks_[chunk]->share_values(update.end);
      next.clear();
      elements = 0;
    }
    chunks_[chunk]->finish_sharing();
  }
}

StepReport Optimizer::step(float learning_rate, double weight) {
  const TraceSpan span("optimizer", "optimizer");
  for (const auto& chunk : chunks_) chunk->sum_gradients();
  reductions_->finish();
  StepReport report;
  report.gradient_norm = gradient_norm() / weight;
  report.skipped = !std::isfinite(report.gradient_norm);
  if (!report.skipped) {
    ++steps_;
    update(report, learning_rate, weight);
  }
  for (const auto& chunk : chunks_) chunk->clear_gradients();
  return report;
}

void Optimizer::skip_step() {
  reductions_->finish();  // what is under way would be added to the next step
  for (const auto& chunk : chunks_) chunk->clear_gradients();
}

void Optimizer::restore(std::int64_t steps) {
  steps_ = steps;
  for (std::size_t i = 0; i < states_.size(); ++i) updates_[i].value.copy_from(states_[i].master);
  for (const auto& chunk : chunks_) chunk->finish_sharing();
}

}  // namespace skymm
