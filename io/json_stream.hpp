// A JSON array of any length, an element at a time: only one is in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace skymm {

constexpr std::int64_t longest_json_element = std::int64_t{64} << 20;  // bytes

struct JsonStreamEvents {
  std::function<bool()> wants;                    // whether the next element is to be built; else it is only parsed
  std::function<bool(nlohmann::json&&)> element;  // false: stop
  std::function<void(std::int64_t)> at;           // bytes read so far, now and then
};

// Reads the array that the file holds. Returns "" at its end (or after `element` stopped it), else what is wrong and at
// which byte: elements before were handed over. Throws Error where the file cannot be opened or read.
std::string stream_json_array(const std::string& path, const JsonStreamEvents& events);

}  // namespace skymm
