#include "io/json.hpp"

#include <unordered_set>
#include <vector>

#include "core/error.hpp"
#include "io/file.hpp"

namespace skymm {

using nlohmann::json;

json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits) {
  std::vector<std::unordered_set<std::string>> names;  // of the objects that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    check(depth <= limits.depth, "{} is nested too deeply", what);
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key) {
      const bool first = names.back().insert(value.get_ref<const std::string&>()).second;
      check(first, "{} has the name '{}' twice", what, value.get_ref<const std::string&>());
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::exception& error) {
    const auto* parse = dynamic_cast<const json::parse_error*>(&error);
    fail("{} is not JSON (byte {}: {})", what, limits.offset + (parse ? parse->byte : 0), error.what());
  }
}

json read_json(const std::string& path) {
  json value = parse_json(read_file(path), path);
  check(value.is_object(), "{} is not a JSON object", path);
  return value;
}

}  // namespace skymm
