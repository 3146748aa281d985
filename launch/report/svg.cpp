#include "launch/report/svg.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "launch/report/html.hpp"

namespace skymm {
namespace {

constexpr double extent = 1000;       // of the inner coordinates, both ways
constexpr std::size_t columns = 300;  // a curve's resolution
constexpr int strips = 80;
constexpr int series_colours = 6;

struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool log = false;

  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  double at(double value) const {  // 0 to 1 inside the axis
    return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  }
};

Points finite(const Points& points) {
  Points kept;
  for (const auto& [x, y] : points) {
    if (std::isfinite(x) && std::isfinite(y)) kept.emplace_back(x, y);
  }
  return kept;
}

struct Drawn {
  Points raw, line;
};

Drawn drawn(const Curve& curve) {
  const Points points = finite(curve.points);
  return {points, curve.noisy ? smoothed(thinned(points, 4 * columns)) : points};
}

// Raw points between the percentiles 1 and 99 count, so that a spike does not flatten the curve.
void take_raw(Axis& axis, const Points& points) {
  std::vector<double> values;
  for (const auto& point : points) values.push_back(point.second);
  std::ranges::sort(values);
  const std::size_t cut = values.size() / 100;
  axis.take(values[cut]);
  axis.take(values[values.size() - 1 - cut]);
}

void pad(Axis& axis) {
  if (axis.log) {
    const double share = std::pow(axis.high / axis.low, 0.04);
    axis.low /= share;
    axis.high *= share;
    return;
  }
  const double span = axis.high - axis.low;
  const double room = span > 0 ? 0.06 * span : std::max(std::abs(axis.high) * 0.1, 1e-9);
  const bool near_zero = axis.low >= 0 && axis.low < 0.3 * axis.high;
  axis.low = near_zero ? 0 : axis.low - room;
  axis.high += room;
}

// The lowest and the highest raw point of each column: keeps the noise's width at any number of points.
Points envelope(const Points& points, std::size_t most) {
  if (points.size() <= 2 * most) return points;
  Points kept;
  for (std::size_t i = 0; i < most; ++i) {
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(points.size() * i / most);
    const auto last = points.begin() + static_cast<std::ptrdiff_t>(points.size() * (i + 1) / most);
    auto [low, high] =
        std::minmax_element(first, last, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (high < low) std::swap(low, high);
    kept.push_back(*low);
    if (high != low) kept.push_back(*high);
  }
  return kept;
}

std::string path_of(const Points& points, const Axis& x, const Axis& y) {
  std::string path;
  for (const auto& [a, b] : points) {
    const double height = y.log && b <= 0 ? 0 : y.at(b);
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", extent * x.at(a),
                        extent * (1 - std::clamp(height, -0.2, 1.2)));
  }
  return path;
}

std::string axes_of(const Plot& plot, const Axis& x, const Axis& y) {
  std::string text;
  const std::vector<double> y_ticks = y.log ? log_ticks(y.low, y.high, 6) : linear_ticks(y.low, y.high, 5);
  const std::vector<std::string> y_labels = tick_labels(y_ticks);
  for (std::size_t i = 0; i < y_ticks.size(); ++i) {
    const double at = 100 * (1 - y.at(y_ticks[i]));
    text += fmt::format("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0:.2f}%\" y2=\"{0:.2f}%\"/>", at);
    text += fmt::format("<text class=\"tick\" x=\"-8\" y=\"{:.2f}%\" dy=\".32em\" text-anchor=\"end\">{}</text>", at,
                        y_labels[i]);
  }
  const std::vector<double> x_ticks = linear_ticks(x.low, x.high, 5);
  const std::vector<std::string> x_labels = tick_labels(x_ticks);
  for (std::size_t i = 0; i < x_ticks.size(); ++i) {
    const double at = 100 * x.at(x_ticks[i]);
    text += fmt::format("<text class=\"tick\" x=\"{:.2f}%\" y=\"100%\" dy=\"1.6em\" text-anchor=\"middle\">{}</text>",
                        at, x_labels[i]);
  }
  text += "<line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"100%\" y2=\"100%\"/>";
  text += fmt::format("<text class=\"name\" x=\"-8\" y=\"0\" dy=\"-.9em\" text-anchor=\"start\">{}{}</text>",
                      escape_html(plot.y_name), y.log ? " (log)" : "");
  text += fmt::format("<text class=\"name\" x=\"100%\" y=\"100%\" dy=\"3em\" text-anchor=\"end\">{}</text>",
                      escape_html(plot.x_name));
  return text;
}

std::string value_at(const Points& points, double x) {
  const auto after = std::ranges::lower_bound(points, x, {}, &std::pair<double, double>::first);
  auto nearest = after == points.end() ? after - 1 : after;
  if (nearest != points.begin() && x - (nearest - 1)->first < nearest->first - x) --nearest;
  return number_text(nearest->second);
}

std::string strips_of(const Plot& plot, const std::vector<Drawn>& curves, const Axis& x) {
  std::string text;
  const double width = 100.0 / strips;
  for (int i = 0; i < strips; ++i) {
    const double at = x.low + (x.high - x.low) * (i + 0.5) / strips;
    std::string title = fmt::format("{} {}", plot.x_name, number_text(std::round(at)));
    for (std::size_t c = 0; c < curves.size(); ++c) {
      if (curves[c].line.empty()) continue;
      title += fmt::format("\n{}: {}", plot.curves[c].name, value_at(curves[c].line, at));
    }
    text += fmt::format(
        "<rect class=\"strip\" x=\"{:.2f}%\" y=\"0\" width=\"{:.2f}%\" height=\"100%\"><title>{}</title></rect>",
        width * i, width, escape_html(title));
  }
  return text;
}

}  // namespace

std::vector<double> linear_ticks(double low, double high, int about) {
  if (!(high > low) || about < 1) return {low};
  const double rough = (high - low) / about;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const double slack = 1e-9 * (high - low);
  for (double n = std::ceil((low - slack) / step); n * step <= high + slack; ++n) ticks.push_back(n * step + 0.0);
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int about) {
  std::vector<double> fine, powers;
  if (low > 0 && high > low) {
    for (int n = static_cast<int>(std::floor(std::log10(low))); std::pow(10.0, n) <= high; ++n) {
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10.0, n);
        if (tick < low * (1 - 1e-9) || tick > high * (1 + 1e-9)) continue;
        fine.push_back(tick);
        if (factor == 1) powers.push_back(tick);
      }
    }
  }
  if (fine.size() < 3) return linear_ticks(low, high, about);
  return fine.size() > 2 * static_cast<std::size_t>(about) ? powers : fine;
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks) {
  std::vector<std::string> labels;
  for (const double tick : ticks) {
    const double size = std::abs(tick);
    if (size >= 1e6) {
      labels.push_back(fmt::format("{:g}M", tick / 1e6));
    } else if (size >= 1000) {
      labels.push_back(grouped(std::llround(tick)));
    } else {
      labels.push_back(size > 0 && size < 1e-3 ? number_text(tick) : fmt::format("{:.6g}", tick));
    }
  }
  return labels;
}

Points smoothed(const Points& points) {
  const auto n = static_cast<std::ptrdiff_t>(points.size());
  const std::ptrdiff_t reach = n / 40;
  Points result;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const std::ptrdiff_t h = std::min(reach, i);
    double sum = 0, weights = 0;
    for (std::ptrdiff_t j = i - h; j <= std::min(n - 1, i + h); ++j) {
      const auto weight = static_cast<double>(h + 1 - std::abs(i - j));
      sum += weight * points[static_cast<std::size_t>(j)].second;
      weights += weight;
    }
    result.emplace_back(points[static_cast<std::size_t>(i)].first, sum / weights);
  }
  return result;
}

Points thinned(const Points& points, std::size_t most) {
  if (points.size() <= most) return points;
  Points result;
  for (std::size_t i = 0; i < most; ++i) {
    const std::size_t first = points.size() * i / most, last = points.size() * (i + 1) / most;
    double x = 0, y = 0;
    for (std::size_t j = first; j < last; ++j) {
      x += points[j].first;
      y += points[j].second;
    }
    const auto count = static_cast<double>(last - first);
    result.emplace_back(x / count, y / count);
  }
  return result;
}

bool reads_better_as_log(const Plot& plot) {
  if (plot.linear) return false;
  Axis axis;
  for (const Curve& curve : plot.curves) {
    for (const auto& point : drawn(curve).line) axis.take(point.second);
  }
  return axis.low > 0 && axis.high >= 8 * axis.low && std::isfinite(axis.high);
}

std::string svg_of(const Plot& plot) {
  std::vector<Drawn> curves;
  Axis x, y;
  for (const Curve& curve : plot.curves) {
    curves.push_back(drawn(curve));
    for (const auto& [a, b] : curves.back().line) y.take(b);
    if (curves.back().raw.empty()) continue;
    x.take(curves.back().raw.front().first);
    x.take(curves.back().raw.back().first);
    if (curve.noisy) take_raw(y, curves.back().raw);
  }
  if (!(x.low <= x.high)) return "";
  y.log = y.low > 0 && reads_better_as_log(plot);
  pad(y);
  if (x.low > 0 && x.low <= 0.25 * x.high) x.low = 0;
  if (x.low == x.high) x = {x.low - 1, x.high + 1};

  std::string lines, dots;
  for (std::size_t c = 0; c < curves.size(); ++c) {
    const int colour = static_cast<int>(c) % series_colours;
    const auto& [raw, line] = curves[c];
    if (plot.curves[c].noisy) {
      lines += fmt::format("<path class=\"raw s{}\" d=\"{}\"/>", colour, path_of(envelope(raw, columns), x, y));
    }
    lines += fmt::format("<path class=\"line s{}\" d=\"{}\"/>", colour, path_of(thinned(line, 2 * columns), x, y));
    if (plot.curves[c].noisy || line.size() > 40) continue;
    for (const auto& [a, b] : line) {
      dots += fmt::format("<circle class=\"dot s{}\" cx=\"{:.2f}%\" cy=\"{:.2f}%\" r=\"2.6\"/>", colour, 100 * x.at(a),
                          100 * (1 - y.at(b)));
    }
  }
  return fmt::format(
      "<svg class=\"curves\" role=\"img\" aria-label=\"{}\">{}"
      "<svg viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"100%\">{}</svg>{}{}</svg>\n",
      escape_html(plot.title), axes_of(plot, x, y), extent, extent, lines, dots, strips_of(plot, curves, x));
}

}  // namespace skymm
