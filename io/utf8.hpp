// UTF-8 text: is it, and what to do where it is not.
#pragma once

#include <string>
#include <string_view>

namespace skymm {

bool is_utf8(std::string_view text);            // strictly: no overlong forms, no surrogates
std::string valid_utf8(std::string_view text);  // each byte that belongs to no character becomes U+FFFD
bool is_blank(std::string_view text);           // empty, or only white space, full-width spaces included

}  // namespace skymm
