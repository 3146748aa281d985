#include "launch/training/run_log.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/log.hpp"

namespace skymm {
namespace {

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

// How often each source has been passed over once so many places are drawn.
std::vector<double> epochs_of(const Mixture& mixture, std::int64_t places) {
  std::vector<double> epochs = mixture.drawn(places);
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    const std::int64_t size = mixture.source(static_cast<int>(i)).size();
    epochs[i] = size > 0 ? epochs[i] / static_cast<double>(size) : 0;
  }
  return epochs;
}

}  // namespace

RunLog::RunLog(const TrainConfig& config, bool speaks, double peak_gflops)
    : config_(config), speaks_(speaks), peak_gflops_(peak_gflops) {
  if (!speaks_) return;
  std::error_code failure;
  std::filesystem::create_directories(config.run.dir, failure);
  check(!failure, "the run directory {} cannot be made: {}", config.run.dir, failure.message());
  const std::string path = config.run.dir + "/metrics.jsonl";
  file_.open(path, std::ios::app);
  check(file_.is_open(), "{} cannot be written", path);
}

RunLog::~RunLog() = default;

double RunLog::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void RunLog::record(std::int64_t step, const std::string& name, double value) {
  auto curve = std::ranges::find(curves_, name, &Curve::name);
  if (curve == curves_.end()) curve = curves_.insert(curves_.end(), {name, {}});
  curve->points.emplace_back(step, value);
  events().scalar(step, name, value);
}

EventWriter& RunLog::events() {
  if (!events_) events_ = std::make_unique<EventWriter>(config_.run.dir, std::max<std::int64_t>(first_step_, 0));
  return *events_;
}

void RunLog::step(const StepMetrics& metrics) {
  StepMetrics m = metrics;
  m.bad_samples += bad_before_;
  m.cut += cut_before_;
  add_to_totals(m);
  if (!speaks_) return;
  if (first_step_ < 0) first_step_ = m.step - 1;
  recent_.push_back(m);
  for (std::size_t i = 0; i < languages_.size(); ++i) {
    languages_[i] += m.languages[i];
    polarities_[i] += m.polarities[i];
  }
  record(m.step, "loss", m.loss);
  events().scalar(m.step, "learning rate", m.learning_rate);
  events().scalar(m.step, "gradient norm", m.gradient_norm);
  if (m.seconds > 0 && m.tokens > 0) events().scalar(m.step, "speed/tokens per second", m.tokens / m.seconds);
  if (m.seconds > 0 && m.gflop > 0) events().scalar(m.step, "speed/GFLOP per second", m.gflop / m.seconds);
  const nlohmann::json entry = {{"step", m.step},
                                {"loss", m.loss},
                                {"learning_rate", m.learning_rate},
                                {"gradient_norm", m.gradient_norm},
                                {"tokens", m.tokens},
                                {"images", m.images},
                                {"gflop", m.gflop},
                                {"seconds", m.seconds},
                                {"data_wait_seconds", m.data_wait_seconds},
                                {"communication_seconds", m.communication_seconds},
                                {"bad_samples", m.bad_samples},
                                {"cut", m.cut},
                                {"samples_english", m.languages[1]},
                                {"samples_chinese", m.languages[2]},
                                {"answers_positive", m.polarities[1]},
                                {"answers_negative", m.polarities[2]},
                                {"skipped", m.skipped}};
  write_line(entry.dump());
  if (m.step % config_.train.log_every == 0 || m.step == config_.train.steps) line();
}

void RunLog::add_to_totals(const StepMetrics& m) {
  const StepMetrics before = sum_;
  sum_ = m;
  sum_.tokens += before.tokens;
  sum_.images += before.images;
  sum_.gflop += before.gflop;
  sum_.seconds += before.seconds;
}

std::string RunLog::totals() const {
  nlohmann::json totals = {{"loss", sum_.loss},   {"tokens", sum_.tokens},   {"images", sum_.images},
                           {"gflop", sum_.gflop}, {"seconds", sum_.seconds}, {"bad_samples", sum_.bad_samples},
                           {"cut", sum_.cut}};
  if (validation_loss_ > 0) totals["validation_loss"] = validation_loss_;
  return totals.dump();
}

void RunLog::restore_totals(const std::string& totals) {
  const nlohmann::json saved = nlohmann::json::parse(totals, nullptr, false);
  if (!saved.is_object()) return;
  sum_.tokens = saved.value("tokens", 0.0);
  sum_.images = saved.value("images", 0.0);
  sum_.gflop = saved.value("gflop", 0.0);
  sum_.seconds = saved.value("seconds", 0.0);
  bad_before_ = saved.value("bad_samples", std::int64_t{0});
  cut_before_ = saved.value("cut", std::int64_t{0});
  validation_loss_ = saved.value("validation_loss", 0.0);
}

// After a failure, of a full disk for example, the next line is tried again; what was cut off gets a line of its own.
void RunLog::write_line(const std::string& line) {
  const bool failed = !file_;
  file_.clear();
  if (failed) file_ << '\n';
  file_ << line << '\n' << std::flush;
  if (!file_ && !failed) log::warn("metrics.jsonl cannot be written: curves lack what comes until it can");
}

void RunLog::line() {
  StepMetrics sum;
  for (const StepMetrics& m : recent_) {
    sum.loss += m.loss / static_cast<double>(recent_.size());
    sum.seconds += m.seconds;
    sum.tokens += m.tokens;
    sum.images += m.images;
    sum.gflop += m.gflop;
    sum.data_wait_seconds += m.data_wait_seconds;
    sum.communication_seconds += m.communication_seconds;
  }
  const StepMetrics& last = recent_.back();
  const double eta =
      seconds() / static_cast<double>(last.step - first_step_) * static_cast<double>(config_.train.steps - last.step);
  std::string text =
      fmt::format("step {:>6}/{}  loss {:.4f}  lr {:.2e}  norm {:.2f}  {:.0f} tokens/s", last.step, config_.train.steps,
                  sum.loss, last.learning_rate, last.gradient_norm, sum.tokens / sum.seconds);
  if (sum.images > 0) text += fmt::format("  {:.0f} images/s", sum.images / sum.seconds);
  if (sum.gflop > 0) text += fmt::format("  {:.1f} GFLOP/s", sum.gflop / sum.seconds);
  if (sum.gflop > 0 && peak_gflops_ > 0)
    text += fmt::format(" ({:.0f}%)", 100 * sum.gflop / sum.seconds / peak_gflops_);
  text += fmt::format("  data {:.0f}%", 100 * sum.data_wait_seconds / sum.seconds);
  if (sum.communication_seconds > 0) {
    text += fmt::format("  communication {:.0f}%", 100 * sum.communication_seconds / sum.seconds);
  }
  if (last.bad_samples > 0) text += fmt::format("  bad samples {}", last.bad_samples);
  if (last.cut > 0) text += fmt::format("  cut {}", last.cut);
  log::info("{}  eta {}", text, clock_text(eta));
  recent_.clear();
}

void RunLog::validation(std::int64_t step, double loss) {
  validation_loss_ = loss;
  figure(step, "validation loss", loss);
  if (speaks_) log::info("step {:>6}  validation loss {:.4f}", step, loss);
}

void RunLog::evaluation(std::int64_t step, const std::vector<std::pair<std::string, double>>& figures) {
  std::string text;
  for (const auto& [name, value] : figures) {
    figure(step, name, value);
    text += fmt::format("{}{} {:.4g}", text.empty() ? "" : ", ", name, value);
  }
  if (speaks_) log::info("step {:>6}  {}", step, text);
}

void RunLog::epochs_ahead(const Mixture& mixture, std::int64_t places) {
  if (!speaks_) return;
  const std::vector<double> epochs = epochs_of(mixture, places);
  std::string text;
  for (std::size_t i = 0; i < epochs.size(); ++i) {
    const SourceConfig& source = config_.data.train[i];
    text += fmt::format("{}{} {:.2f}", i == 0 ? "" : ", ", source.path, epochs[i]);
    if (source.epochs > 0) text += fmt::format(" of {}", source.epochs);
  }
  log::info("epochs that {} steps of {} samples make: {}", config_.train.steps, config_.train.global_batch, text);
}

void RunLog::mixture(std::int64_t step, const Mixture& mixture, std::int64_t drawn) {
  if (!speaks_) return;
  const std::vector<double> counts = mixture.drawn(drawn), epochs = epochs_of(mixture, drawn);
  std::string text;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::string& path = config_.data.train[i].path;
    const double share = counts[i] / static_cast<double>(std::max<std::int64_t>(drawn, 1));
    figure(step, "mixture/" + path, share);
    figure(step, "epochs/" + path, epochs[i]);
    // A small set's share is no "0.0 %".
    const std::string percent = share < 1e-3 ? fmt::format("{:.2g}", 100 * share) : fmt::format("{:.1f}", 100 * share);
    text += fmt::format("{}{} {}% ({:.2f} epochs)", i == 0 ? "" : ", ", path, percent, epochs[i]);
  }
  const auto share = [](const std::array<double, 3>& of, std::size_t i) {
    const double all = of[0] + of[1] + of[2];
    return all > 0 ? 100 * of[i] / all : 0;
  };
  log::info(
      "step {:>6}  drawn: {}; samples: {:.1f}% English, {:.1f}% Chinese; answers: {:.1f}% positive, {:.1f}% negative",
      step, text, share(languages_, 1), share(languages_, 2), share(polarities_, 1), share(polarities_, 2));
}

void RunLog::figure(std::int64_t step, const std::string& name, double value) {
  if (!speaks_) return;
  record(step, name, value);
  write_line(nlohmann::json{{"step", step}, {name, value}}.dump());
}

}  // namespace skymm
