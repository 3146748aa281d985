#include "ops/layers/recompute.hpp"

#include <algorithm>
#include <array>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr std::array<std::string_view, 3> names{"none", "attention+mlp", "full"};

}  // namespace

Recompute parse_recompute(std::string_view name) {
  const auto found = std::ranges::find(names, name);
  check(found != names.end(), "there is no way to recompute called '{}'; there are: {}", name, fmt::join(names, ", "));
  return static_cast<Recompute>(found - names.begin());
}

std::string_view name_of(Recompute mode) { return names[static_cast<std::size_t>(mode)]; }
std::vector<std::string_view> recompute_names() { return {names.begin(), names.end()}; }

}  // namespace skymm
