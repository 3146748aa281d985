#include "launch/report/run_history.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace skymm {
namespace {

using nlohmann::json;

struct Column {
  const char* name;
  Points RunHistory::*points;
};

constexpr Column step_columns[] = {{"loss", &RunHistory::loss},
                                   {"learning_rate", &RunHistory::learning_rate},
                                   {"gradient_norm", &RunHistory::gradient_norm},
                                   {"seconds", &RunHistory::seconds},
                                   {"tokens", &RunHistory::tokens},
                                   {"images", &RunHistory::images}};

void drop_from(Points& points, double step) {
  const auto keep = std::ranges::lower_bound(points, step, {}, &std::pair<double, double>::first);
  points.erase(keep, points.end());
}

double number_or_zero(const json& entry, const char* name) {
  const auto found = entry.find(name);
  return found != entry.end() && found->is_number() ? found->get<double>() : 0;
}

void add_step(RunHistory& history, std::int64_t step, const json& entry) {
  const auto x = static_cast<double>(step);
  if (step <= history.last_step) {
    ++history.went_back;
    for (const Column& column : step_columns) drop_from(history.*column.points, x);
    for (Curve& figure : history.figures) drop_from(figure.points, x);
  }
  history.last_step = step;
  for (const Column& column : step_columns) {  // what is not finite was written as null
    const auto value = entry.find(column.name);
    if (value != entry.end() && value->is_number()) (history.*column.points).emplace_back(x, value->get<double>());
  }
  history.total_seconds += number_or_zero(entry, "seconds");
  history.bad_samples = static_cast<std::int64_t>(number_or_zero(entry, "bad_samples"));
  history.cut = static_cast<std::int64_t>(number_or_zero(entry, "cut"));
  if (const auto skipped = entry.find("skipped"); skipped != entry.end() && skipped->is_boolean()) {
    history.skipped += skipped->get<bool>();
  }
}

void add_figures(RunHistory& history, std::int64_t step, const json& entry) {
  for (const auto& [name, value] : entry.items()) {
    if (name == "step" || !value.is_number()) continue;
    auto curve = std::ranges::find(history.figures, name, &Curve::name);
    if (curve == history.figures.end()) curve = history.figures.insert(curve, Curve{name});
    drop_from(curve->points, static_cast<double>(step));
    curve->points.emplace_back(static_cast<double>(step), value.get<double>());
  }
}

}  // namespace

const Points* RunHistory::figure(const std::string& name) const {
  const auto found = std::ranges::find(figures, name, &Curve::name);
  return found == figures.end() || found->points.empty() ? nullptr : &found->points;
}

RunHistory read_history(const std::string& path) {
  RunHistory history;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const json entry = json::parse(line, nullptr, false);
    const auto step = entry.is_object() ? entry.find("step") : entry.end();
    if (!entry.is_object() || step == entry.end() || !step->is_number_integer()) {
      ++history.damaged_lines;
    } else if (const auto loss = entry.find("loss"); loss != entry.end()) {
      add_step(history, step->get<std::int64_t>(), entry);
    } else {
      add_figures(history, step->get<std::int64_t>(), entry);
    }
  }
  return history;
}

double sum_of(const Points& points) {
  double sum = 0;
  for (const auto& point : points) sum += point.second;
  return sum;
}

}  // namespace skymm
