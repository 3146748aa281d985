// Cuts text into the pieces that a BPE tokenizer works on one by one: words with the space in front of them, numbers,
// punctuation. By the regular expressions of the tokenizer's family, read as Hugging Face's tokenizers reads them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

class TextSplitter {
 public:
  // Patterns in PCRE's syntax, applied one after the other, each to every piece that the ones before left. Matches and
  // what lies between them are pieces. Throws Error for a pattern that cannot be compiled.
  explicit TextSplitter(const std::vector<std::string>& patterns);
  ~TextSplitter();
  TextSplitter(const TextSplitter&) = delete;
  TextSplitter& operator=(const TextSplitter&) = delete;

  // text: UTF-8. The pieces, in their order, are the text. Thread-safe.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Pattern;
  std::vector<std::unique_ptr<Pattern>> patterns_;
};

// GPT-2's, which ByteLevel pre-tokenizers use; each decimal digit or other numeral alone; Qwen2's; LLaMA-3's.
extern const char* const gpt2_pattern;
extern const char* const digits_pattern;
extern const char* const qwen2_pattern;
extern const char* const llama3_pattern;

// Unicode's canonical composition (NFC) of UTF-8 text.
std::string composed(std::string_view text);

}  // namespace skymm
