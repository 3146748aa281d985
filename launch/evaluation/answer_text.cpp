#include "launch/evaluation/answer_text.hpp"

#include <algorithm>

namespace skymm {
namespace {

// Bytes at the end that are no whole character as yet: the tokenizer makes U+FFFD of each.
std::size_t unfinished_bytes(std::string_view text) {
  constexpr std::string_view replacement = "\uFFFD";
  constexpr std::size_t most = 3;  // of four bytes
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < most && text.ends_with(replacement); ++i) {
    text.remove_suffix(replacement.size());
    bytes += replacement.size();
  }
  return bytes;
}

// The longest end of the text that a stop mark may begin with.
std::size_t possible_stop(std::string_view text, const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  for (const std::string_view stop : stops) {
    for (std::size_t n = std::min(stop.size(), text.size()); n > longest; --n) {
      if (text.ends_with(stop.substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace

std::string AnswerText::hand_out(std::string_view upto) {
  if (upto.size() <= text_.size()) return {};
  std::string fresh(upto.substr(text_.size()));
  text_ += fresh;
  return fresh;
}

std::string AnswerText::update(const std::vector<std::int32_t>& tokens) {
  if (stopped_) return {};
  const std::string all = tokenizer_->decode(tokens, TextPlace::middle);
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, all.find(stop));
  if (first != std::string::npos) {
    stopped_ = true;
    return hand_out(std::string_view(all).substr(0, first));
  }
  const std::string_view whole = std::string_view(all).substr(0, all.size() - unfinished_bytes(all));
  return hand_out(whole.substr(0, whole.size() - possible_stop(whole, stops_)));
}

std::string AnswerText::finish(const std::vector<std::int32_t>& tokens) {
  if (stopped_) return {};
  std::string fresh = update(tokens);
  if (!stopped_) fresh += hand_out(tokenizer_->decode(tokens, TextPlace::middle));
  return fresh;
}

}  // namespace skymm
