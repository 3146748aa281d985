// The languages that are asked in, and the sets of questions or answers in each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/sample.hpp"

namespace skymm {

constexpr Language asked_languages[] = {Language::english, Language::chinese};

const char* code_of(Language language);  // en, zh

// Chinese where Chinese characters are more than words of Latin letters, else English.
Language language_of(std::string_view text);

struct LanguageSet {
  std::string language;  // en or zh; "": its questions tell
  std::string path;
};

// The folders en and zh of `path`; where there is neither, `path` itself.
std::vector<LanguageSet> language_sets(const std::string& path);

}  // namespace skymm
