#include "parallel/zero/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "core/trace.hpp"
#include "ops/kernels/kernels.hpp"
#include "parallel/zero/chunk.hpp"

namespace skymm {

Optimizer::Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& world)
    : Optimizer(std::vector<std::vector<NamedParameter>>{std::move(parameters)}, options, ZeroOptions{}, world, world) {
}

Optimizer::Optimizer(std::vector<std::vector<NamedParameter>> chunks, const OptimizerOptions& options,
                     const ZeroOptions& zero, Communicator& data, Communicator& world)
    : options_(options), world_(world) {
  check(zero.stage >= 0 && zero.stage <= 3, "there is no ZeRO stage {}; use 0, 1, 2 or 3", zero.stage);
  check(zero.bucket_bytes >= 4, "a bucket of {} bytes holds no gradient; use 4 or more", zero.bucket_bytes);
  std::vector<ZeroChunk::Owned> owned;
  for (std::vector<NamedParameter>& parameters : chunks) {
    chunks_.push_back(std::make_unique<ZeroChunk>(std::move(parameters), zero, data));
    for (ZeroChunk::Owned& mine : chunks_.back()->owned()) owned.push_back(std::move(mine));
  }
  std::ranges::sort(owned, {}, [](const ZeroChunk::Owned& mine) {
    return std::tie(mine.state.slice.tensor, mine.state.slice.begin);
  });
  std::vector<Slice> slices;
  for (ZeroChunk::Owned& mine : owned) {
    slices.push_back(mine.state.slice);
    states_.push_back(std::move(mine.state));
    updates_.push_back({std::move(mine.gradient), std::move(mine.value)});
  }
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
void Optimizer::reduce_gradients(int i) { chunk(i).reduce_gradients(); }

// The square of every slice, on the ranks that speak for them, then added up in the order of names and elements by
// all. A slice is summed in fixed blocks; where the slices' borders fall changes no more than the rounding of f64.
double Optimizer::gradient_norm() const {
  if (squares_ == 0) return 0;
  Device& device = updates_.empty() ? cpu() : updates_[0].gradient.device();
  const Tensor squares = Tensor::zeros({squares_}, DType::f64, device);
  for (const Update& update : updates_) {
    if (update.square < 0) continue;
    kernels(device).sum_of_squares(update.gradient, squares.slice(0, update.square, update.square + 1));
  }
  world_.all_reduce(squares);
  double sum = 0;
  for (const double square : squares.to_vector<double>()) sum += square;
  return std::sqrt(sum);
}

void Optimizer::update(const StepReport& report, float learning_rate, double weight) {
  const bool clip = options_.clip_norm > 0 && report.gradient_norm > options_.clip_norm;
  AdamW adamw{learning_rate, options_.beta1, options_.beta2, options_.epsilon, 0.0F, steps_, 1.0F};
  adamw.gradient_scale = static_cast<float>((clip ? options_.clip_norm / report.gradient_norm : 1.0) / weight);
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const State& state = states_[i];
    adamw.weight_decay = state.slice.shape.rank() >= 2 ? options_.weight_decay : 0.0F;
    kernels(state.master).adamw(state.master, state.m, state.v, updates_[i].gradient, updates_[i].value, adamw);
  }
  for (const auto& chunk : chunks_) chunk->share_values();
}

StepReport Optimizer::step(float learning_rate, double weight) {
  const TraceSpan span("optimizer", "optimizer");
  for (const auto& chunk : chunks_) chunk->sum_gradients();
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
  for (const auto& chunk : chunks_) chunk->clear_gradients();
}

void Optimizer::restore(std::int64_t steps) {
  steps_ = steps;
  for (std::size_t i = 0; i < states_.size(); ++i) updates_[i].value.copy_from(states_[i].master);
  for (const auto& chunk : chunks_) chunk->share_values();
}

}  // namespace skymm
