// Curves as SVG for a page: fluid in width (text keeps its size), coloured by the page's CSS, read without scripts.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace skymm {

using Points = std::vector<std::pair<double, double>>;

struct Curve {
  std::string name;
  Points points;       // x ascending; points that are not finite are left out
  bool noisy = false;  // drawn smoothed, over the faint raw curve
};

struct Plot {
  std::string title, x_name, y_name;
  std::vector<Curve> curves;
  bool linear = false;  // never a logarithmic axis, such as for a rate that ends near 0
};

// Round values (1, 2 or 5 times a power of ten apart) in [low, high], about so many.
std::vector<double> linear_ticks(double low, double high, int about);
// Of 1, 2 and 5 times powers of ten, or powers alone, in [low, high]; linear_ticks where these are fewer than three.
std::vector<double> log_ticks(double low, double high, int about);
// With just the digits that tell neighbours apart.
std::vector<std::string> tick_labels(const std::vector<double>& ticks);

// Means under a triangle of 1/40 of the curve's length to either side, shorter at its start.
Points smoothed(const Points& points);
// At most `most` points: means of runs of equal length.
Points thinned(const Points& points, std::size_t most);

// Whether the values of the curves span so much that a logarithmic axis reads better.
bool reads_better_as_log(const Plot& plot);

// An <svg> element, or "" where no curve has a finite point. Vertical strips carry the values in a <title>. Classes for
// the page's CSS: grid, tick, name; raw, line, dot with s0 to s5 (the curve's number); strip.
std::string svg_of(const Plot& plot);

}  // namespace skymm
