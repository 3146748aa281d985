#include "launch/config/config_changes.hpp"

#include <fmt/format.h>

#include <map>
#include <sstream>

#include "launch/config/options.hpp"

namespace skymm {
namespace {

std::map<std::string, std::string> options_of(const std::string& ini) {
  std::map<std::string, std::string> options;
  std::istringstream lines(ini);
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    const std::string_view text = trimmed(line);
    if (text.starts_with('[') && text.ends_with(']')) {
      section = text.substr(1, text.size() - 2);
    } else if (const std::size_t equals = text.find('='); equals != std::string_view::npos && !text.starts_with('#')) {
      options[fmt::format("{}.{}", section, trimmed(text.substr(0, equals)))] = trimmed(text.substr(equals + 1));
    }
  }
  return options;
}

}  // namespace

std::string ConfigChange::str() const { return fmt::format("{} {}, now {}", option, before, now); }

std::vector<ConfigChange> config_changes(const std::string& before, const std::string& now) {
  std::vector<ConfigChange> changes;
  const auto later = options_of(now);
  for (const auto& [option, value] : options_of(before)) {
    const auto found = later.find(option);
    if (found != later.end() && found->second != value) changes.push_back({option, value, found->second});
  }
  return changes;
}

}  // namespace skymm
