// JSON of files that others made.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace skymm {

struct JsonLimits {
  int depth = 64;          // of nesting
  std::size_t offset = 0;  // of the text in its file, for messages
};

// Strict: a name that comes twice in an object is refused (readers differ in which of the two they take), and so is
// deeper nesting than `limits`. `what` begins every message: "model.safetensors: the header".
nlohmann::json parse_json(std::string_view text, const std::string& what, const JsonLimits& limits = {});

// Of a whole file, an object.
nlohmann::json read_json(const std::string& path);

}  // namespace skymm
