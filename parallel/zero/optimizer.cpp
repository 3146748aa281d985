#include "parallel/zero/optimizer.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/trace.hpp"
#include "ops/kernels/kernels.hpp"

namespace skymm {

Optimizer::Optimizer(std::vector<NamedParameter> parameters, const OptimizerOptions& options, Communicator& world)
    : Optimizer(std::vector<std::vector<NamedParameter>>{std::move(parameters)}, options, ZeroOptions{}, world, world) {
}

Optimizer::Optimizer(std::vector<std::vector<NamedParameter>> chunks, const OptimizerOptions& options,
                     const ZeroOptions& zero, Communicator& data, Communicator& world)
    : options_(options), data_(data) {
  check(zero.stage == 0, "ZeRO stage {} is not there yet; use 0", zero.stage);
  check(data.size() == world.size(), "a grid with pipelines is not there yet; use data-parallel ranks alone");
  for (const std::vector<NamedParameter>& chunk : chunks) {
    parameters_.insert(parameters_.end(), chunk.begin(), chunk.end());
  }
  std::ranges::sort(parameters_, {}, &NamedParameter::name);
  std::int64_t total = 0;
  for (const NamedParameter& entry : parameters_) total += entry.parameter->shape.numel();
  Device& device = parameters_.empty() ? cpu() : parameters_[0].parameter->value.device();
  Tensor state;  // [3, total]: masters, first and second moments
  {
    const PurposeScope purpose(Purpose::optimizer);
    state = Tensor::zeros({3, total}, DType::f32, device);
  }
  {
    const PurposeScope purpose(Purpose::gradients);
    gradients_ = Tensor::zeros({total}, DType::f32, device);
  }
  std::int64_t begin = 0;
  for (const NamedParameter& entry : parameters_) {
    Parameter& p = *entry.parameter;
    check(p.value.defined() && p.value.shape() == p.shape, "parameter {} is to be trained but has no value",
          entry.name);
    const std::int64_t end = begin + p.shape.numel();
    const auto flat = [&](int row) { return state.slice(0, row, row + 1).slice(1, begin, end).view({end - begin}); };
    states_.push_back({Slice::whole(entry.name, p.shape), flat(0), flat(1), flat(2)});
    states_.back().master.view(p.shape).copy_from(p.value);
    p.gradient = gradients_.slice(0, begin, end).view(p.shape);
    begin = end;
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::gather_weights(int) {}
void Optimizer::release_weights(int) {}
void Optimizer::reduce_gradients(int) {}

double Optimizer::gradient_norm() const {
  const auto n = static_cast<std::int64_t>(parameters_.size());
  if (n == 0) return 0;
  const Tensor squares = Tensor::zeros({n}, DType::f64, gradients_.device());
  for (std::int64_t i = 0; i < n; ++i) {
    const Tensor& gradient = parameters_[i].parameter->gradient;
    kernels(gradient).sum_of_squares(gradient.view({gradient.numel()}), squares.slice(0, i, i + 1));
  }
  double sum = 0;
  for (const double square : squares.to_vector<double>()) sum += square;
  return std::sqrt(sum);
}

StepReport Optimizer::step(float learning_rate, double weight) {
  const TraceSpan span("optimizer", "optimizer");
  data_.all_reduce(gradients_);
  StepReport report;
  report.gradient_norm = gradient_norm() / weight;
  report.skipped = !std::isfinite(report.gradient_norm);
  if (!report.skipped) {
    ++steps_;
    const bool clip = options_.clip_norm > 0 && report.gradient_norm > options_.clip_norm;
    AdamW adamw{learning_rate, options_.beta1, options_.beta2, options_.epsilon, 0.0F, steps_, 1.0F};
    adamw.gradient_scale = static_cast<float>((clip ? options_.clip_norm / report.gradient_norm : 1.0) / weight);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = *parameters_[i].parameter;
      const std::int64_t n = p.shape.numel();
      adamw.weight_decay = p.shape.rank() >= 2 ? options_.weight_decay : 0.0F;
      kernels(gradients_)
          .adamw(states_[i].master, states_[i].m, states_[i].v, p.gradient.view({n}), p.value.view({n}), adamw);
    }
  }
  gradients_.fill(0);
  return report;
}

void Optimizer::restore(std::int64_t steps) {
  steps_ = steps;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = *parameters_[i].parameter;
    p.value.copy_from(states_[i].master.view(p.shape));
  }
}

}  // namespace skymm
