// What a made sample says of the one that it was made of.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace skymm {

// A sample's annotations with one more; what was no JSON object becomes one, {"annotations": as it was}.
inline std::string annotated(const std::string& annotations, const char* key, const std::string& value) {
  nlohmann::json all =
      annotations.empty() ? nlohmann::json::object() : nlohmann::json::parse(annotations, nullptr, false);
  if (!all.is_object()) all = {{"annotations", annotations}};
  all[key] = value;
  return all.dump();
}

}  // namespace skymm
