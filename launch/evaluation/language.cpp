#include "launch/evaluation/language.hpp"

#include <fmt/format.h>

#include <filesystem>

namespace skymm {

const char* code_of(Language language) { return language == Language::chinese ? "zh" : "en"; }

Language language_of(std::string_view text) {
  std::size_t characters = 0, words = 0;
  bool in_word = false;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    words += letter && !in_word;
    in_word = letter;
    // The lead bytes of U+4000 to U+9FFF, which hold the common ideographs.
    characters += c >= '\xe4' && c <= '\xe9';
  }
  return characters > words ? Language::chinese : Language::english;
}

std::vector<LanguageSet> language_sets(const std::string& path) {
  std::vector<LanguageSet> sets;
  for (const Language language : asked_languages) {
    const std::string inner = fmt::format("{}/{}", path, code_of(language));
    if (std::filesystem::is_directory(inner)) sets.push_back({code_of(language), inner});
  }
  if (sets.empty()) sets.push_back({"", path});
  return sets;
}

}  // namespace skymm
