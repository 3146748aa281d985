// The options of a training run, described once: name, field, range, help. config.cpp reads, checks and prints by it.
#pragma once

#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "launch/config/config.hpp"

namespace skymm {

using Field = std::variant<std::string*, bool*, int*, std::int64_t*, std::uint64_t*, float*, double*,
                           std::vector<std::string>*, std::vector<SourceConfig>*>;
using Names = std::vector<std::string>;

inline constexpr double infinity = std::numeric_limits<double>::infinity();

struct Range {
  double least = -infinity, most = infinity;
  bool open = false;  // `least` itself is out
};

struct Option {
  const char* name;
  const char* value;  // what stands for the value in --help, with its unit
  const char* help;
  Field (*field)(TrainConfig&);
  Range range = {};
  Names (*choices)() = nullptr;  // of a string, or of a list's items
  bool or_path = false;          // or a file or folder that exists
};

struct Section {
  const char* name;
  const char* help;
};

// In the order of --help.
const std::vector<Section>& config_sections();
const std::vector<Option>& config_options();

}  // namespace skymm
