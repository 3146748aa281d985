// What a run says while it goes: a line for people, metrics.jsonl and TensorBoard events for tools. Speaks on rank 0.
#pragma once

#include <array>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "io/sampler.hpp"
#include "launch/config/config.hpp"
#include "launch/training/tensorboard.hpp"

namespace skymm {

struct StepMetrics {
  std::int64_t step = 0;  // steps done
  double loss = 0;        // mean a token of the global batch
  double learning_rate = 0, gradient_norm = 0;
  double tokens = 0, images = 0;  // of the step, over all ranks
  double gflop = 0;               // useful operations of the step, over all ranks
  double seconds = 0;             // of the step
  double data_wait_seconds = 0;   // of it, waiting for data, on the rank that waits longest
  // Of it, waiting for other ranks, mean over ranks; the update's part is of the step before.
  double communication_seconds = 0;
  // Since this process started; as recorded, of the whole run. cut: turns and ends of texts, by the length limit.
  std::int64_t bad_samples = 0, cut = 0;
  std::array<double, 3> languages{}, polarities{};  // samples of each Language and answers of each Polarity of the step
  bool skipped = false;                             // the weights were not changed
};

class RunLog {
 public:
  // Creates the run directory. `peak_gflops` of all ranks together: what the share is a share of; 0: unknown.
  RunLog(const TrainConfig& config, bool speaks, double peak_gflops = 0);
  ~RunLog();

  // Every step is recorded; a line is printed every log_every steps, with means since the last.
  void step(const StepMetrics& metrics);
  void validation(std::int64_t step, double loss);
  // How often each data set will have been passed over once so many places are drawn, at the end of the run.
  void epochs_ahead(const Mixture& mixture, std::int64_t places);
  // What was drawn so far of each data set, as a share and in epochs; and the true shares of languages and polarities
  // in what this process trained on.
  void mixture(std::int64_t step, const Mixture& mixture, std::int64_t drawn);
  // Figures by name, such as "mme/perception_en".
  void evaluation(std::int64_t step, const std::vector<std::pair<std::string, double>>& figures);
  // Any other figure, by a name such as "lvm/retrieval_english".
  void figure(std::int64_t step, const std::string& name, double value);

  struct Curve {
    std::string name;
    std::vector<std::pair<std::int64_t, double>> points;
  };
  const std::vector<Curve>& curves() const { return curves_; }

  // Of the whole run, what it resumed from included: steps' loss, tokens, images, seconds, ... as JSON, for
  // checkpoints.
  std::string totals() const;
  void restore_totals(const std::string& totals);
  double seconds() const;  // since the start of the run

 private:
  void line();
  void write_line(const std::string& line);
  void add_to_totals(const StepMetrics& metrics);
  void record(std::int64_t step, const std::string& name, double value);
  EventWriter& events();

  TrainConfig config_;
  bool speaks_;
  double peak_gflops_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::ofstream file_;
  std::unique_ptr<EventWriter> events_;  // made with the first figure, when it is known where the run goes on
  std::vector<Curve> curves_;
  std::vector<StepMetrics> recent_;
  std::array<double, 3> languages_{}, polarities_{};  // since the start
  StepMetrics sum_;  // tokens, images, gflop and seconds of all steps; the rest is of the last one
  std::int64_t bad_before_ = 0, cut_before_ = 0;  // in the starts that this one goes on from
  double validation_loss_ = 0;                    // the last; 0: none yet
  std::int64_t first_step_ = -1;
};

}  // namespace skymm
