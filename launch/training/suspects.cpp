#include "launch/training/suspects.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/log.hpp"
#include "parallel/gather_text.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr std::size_t most_named = 16;

std::string dumped(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

// Of this pipeline, from its last stage to all.
std::vector<double> share_losses(Communicator& pipeline, const std::vector<double>& losses) {
  const Tensor shared = Tensor::from(losses, {static_cast<std::int64_t>(losses.size())});
  pipeline.broadcast(shared, pipeline.size() - 1);
  return shared.to_vector<double>();
}

// What is not finite becomes null, which JSON has in its place.
json described(const std::vector<BatchSamples>& samples, const std::vector<double>& losses, bool without_answers) {
  json batches = json::array();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].label_tokens == 0 && !without_answers) continue;
    const double mean = losses[i] / static_cast<double>(samples[i].label_tokens);
    std::vector<std::string> ids = samples[i].ids;
    if (without_answers) ids.insert(ids.end(), samples[i].holes.begin(), samples[i].holes.end());
    if (ids.empty()) continue;
    batches.push_back({{"loss", std::isfinite(mean) ? json(mean) : json()}, {"samples", ids}});
  }
  return batches;
}

double badness(const json& batch) {
  const json& loss = batch.at("loss");
  return loss.is_null() ? std::numeric_limits<double>::infinity() : loss.get<double>();
}

// The samples of the micro-batches that are not finite, else of the worst.
std::string names_of_worst(const std::vector<json>& batches) {
  std::vector<std::string> names;
  for (const json& batch : batches) {
    if (!names.empty() && std::isfinite(badness(batch))) break;
    for (const json& id : batch.at("samples")) names.push_back(id.get<std::string>());
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), most_named); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return names.size() > most_named ? fmt::format("{} and {} more", text, names.size() - most_named) : text;
}

}  // namespace

std::string record_skipped_step(const Grid& grid, const std::string& run_dir, const SkippedStep& skipped,
                                const std::vector<BatchSamples>& samples, const std::vector<double>& losses) {
  const std::vector<double> shared = share_losses(grid.pipeline(), losses);
  std::vector<json> batches;
  const std::string mine = dumped(described(samples, shared, skipped.without_answers));
  for (const std::string& text : gather_text(grid.world(), mine)) {
    for (const json& batch : json::parse(text)) batches.push_back(batch);
  }
  std::ranges::stable_sort(batches, std::greater<>(), badness);
  if (grid.world().rank() == 0) {
    std::ofstream file(run_dir + "/skipped_steps.jsonl", std::ios::app);
    file << dumped({{"step", skipped.step},
                    {"reason", skipped.reason},
                    {"loss", skipped.loss},
                    {"gradient_norm", skipped.gradient_norm},
                    {"micro_batches", batches}})
         << '\n'
         << std::flush;
    if (!file.good()) log::warn("{}/skipped_steps.jsonl cannot be written", run_dir);
  }
  return names_of_worst(batches);
}

}  // namespace skymm
