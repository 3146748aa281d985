#include "io/text_splitter.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <array>
#include <cstdlib>

#include "core/error.hpp"

namespace skymm {

const char* const gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const digits_pattern = R"(\p{N})";
const char* const qwen2_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const llama3_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

// Unicode's White_Space. PCRE's own \s has U+180E too.
constexpr std::string_view white_space =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

std::string with_unicode_space(const std::string& pattern) {
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '[') in_class = true;
    if (pattern[i] == ']') in_class = false;
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's') {
      out += in_class ? std::string(white_space) : fmt::format("[{}]", white_space);
    } else if (escaped == 'S' && !in_class) {
      out += fmt::format("[^{}]", white_space);
    } else {
      out += {'\\', escaped};
    }
  }
  return out;
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct TextSplitter::Pattern {
  explicit Pattern(const std::string& text) {
    const std::string pattern = with_unicode_space(text);
    int error = 0;
    PCRE2_SIZE at = 0;
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &error,
                         &at, nullptr);
    if (code == nullptr) {
      std::array<PCRE2_UCHAR, 256> reason{};
      pcre2_get_error_message(error, reason.data(), reason.size());
      fail("the tokenizer's pattern '{}' cannot be compiled: {}", text, reinterpret_cast<const char*>(reason.data()));
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // only speed is lost where there is no JIT
  }
  ~Pattern() { pcre2_code_free(code); }
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  void split(std::string_view text, std::vector<std::string_view>& pieces) const {
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(pcre2_match_data_create_from_pattern(code, nullptr));
    check(match != nullptr, "out of memory while text is tokenized");
    std::size_t done = 0, from = 0;
    while (from < text.size()) {
      const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                    PCRE2_NO_UTF_CHECK, match.get(), nullptr);
      if (found == PCRE2_ERROR_NOMATCH) break;
      check(found >= 0, "text of {} bytes is too hard for the tokenizer's pattern (PCRE2 error {})", text.size(),
            found);
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
      if (ends[1] == ends[0]) {  // an empty match cuts nothing
        ++from;
        while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0U) == 0x80) ++from;
        continue;
      }
      if (ends[0] > done) pieces.push_back(text.substr(done, ends[0] - done));
      pieces.push_back(text.substr(ends[0], ends[1] - ends[0]));
      done = from = ends[1];
    }
    if (done < text.size()) pieces.push_back(text.substr(done));
  }

  pcre2_code* code = nullptr;
};

TextSplitter::TextSplitter(const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) patterns_.push_back(std::make_unique<Pattern>(pattern));
}

TextSplitter::~TextSplitter() = default;

std::vector<std::string_view> TextSplitter::split(std::string_view text) const {
  std::vector<std::string_view> pieces, finer;
  if (!text.empty()) pieces.push_back(text);
  for (const auto& pattern : patterns_) {
    finer.clear();
    for (const std::string_view piece : pieces) pattern->split(piece, finer);
    pieces.swap(finer);
  }
  return pieces;
}

std::string composed(std::string_view text) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  check(length >= 0, "text cannot be normalised: {}", utf8proc_errmsg(length));
  std::string out(reinterpret_cast<const char*>(result), static_cast<std::size_t>(length));
  std::free(result);
  return out;
}

}  // namespace skymm
