// Base64 (RFC 4648), as tables carry pictures in it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace skymm {

// The bytes; nothing where the text is no base64. White space and missing padding are let pass.
std::optional<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace skymm
