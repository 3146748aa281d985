// The text of an answer while its tokens still come.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer.hpp"

namespace skymm {

// Hands text out as soon as it cannot change any more: never a part of a character, nor of what may become a stop mark.
class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stops)
      : tokenizer_(&tokenizer), stops_(std::move(stops)) {}

  // The answer so far. Returns the text that is new and final. After a stop mark, which is left out, is_stopped().
  std::string update(const std::vector<std::int32_t>& tokens);
  // No token follows. Returns what was held back.
  std::string finish(const std::vector<std::int32_t>& tokens);

  bool is_stopped() const { return stopped_; }
  const std::string& text() const { return text_; }  // all that was handed out

 private:
  std::string hand_out(std::string_view upto);

  const Tokenizer* tokenizer_;
  std::vector<std::string> stops_;
  std::string text_;
  bool stopped_ = false;
};

}  // namespace skymm
