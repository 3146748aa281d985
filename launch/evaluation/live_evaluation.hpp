// Benchmarks that a model is asked while it trains (data.evaluation): with the weights that it has, none loaded or
// copied, by the readers and the rules of `skymm eval`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/communicator.hpp"
#include "launch/config/config.hpp"
#include "launch/evaluation/shared_answers.hpp"

namespace skymm {

class LiveEvaluation {
 public:
  // Reads the sets, without pictures: what is wrong with them is an Error before training begins.
  explicit LiveEvaluation(const TrainConfig& config);
  ~LiveEvaluation();

  // By name, such as "mme/perception_en" or "pope/popular_accuracy".
  using Figures = std::vector<std::pair<std::string, double>>;

  // The same figures on every rank, all of which must call this; none where who.stop ended it. Rank 0 leaves files, and
  // warns where they cannot be written:
  //   RUN/eval/step_<N>/mme.json, ...              figures, each answer, what could not be asked
  //   RUN/eval/step_<N>/mme/<language>/<task>.txt  for `skymm eval mme --results RUN/eval/step_<N>/mme`
  std::optional<Figures> ask(const Answerer& who, Communicator& ranks, std::int64_t step) const;

  struct Findings;  // of one set
  class Benchmark;  // a set

 private:
  void write(const EvaluationSet& set, const Findings& findings, std::int64_t step) const;

  std::string run_dir_;
  std::vector<std::pair<EvaluationSet, std::unique_ptr<Benchmark>>> sets_;
};

}  // namespace skymm
