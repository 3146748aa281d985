// A conversation as tokens with its labels. A prompt is a list of parts; each is tokenized once and carries its own
// mask, so nothing is ever found again by searching tokens. The loss is on answers and their end mark only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/sample.hpp"
#include "io/tokenizer.hpp"

namespace skymm {

// Text around the parts. "{bos}", "{eos}" and the template's `special` strings stand for single tokens; "{system}" for
// the system text.
struct ChatTemplate {
  std::string_view name;
  std::string_view system;            // default system text
  std::string_view begin;             // in front of everything
  std::string_view system_block;      // after `begin`; left out where the system text is empty
  std::string_view first_user, user;  // in front of the first and of each later turn of the user
  std::string_view after_image;
  std::string_view answer;       // between question and answer; a prompt to be answered ends here
  std::string_view before_text;  // the answer's text is put between these two; they are trained
  std::string_view after_text;
  std::string_view answer_end;  // the answer's end mark, trained
  std::string_view turn_end;    // after it, not trained
  std::vector<std::string_view> special = {};
  bool user_text = true;     // false: of the user's turn only the pictures are kept
  bool space_words = false;  // text that starts a turn or an answer with an ASCII letter or digit gets a space in
                             // front, so that a word is the same token there as within a sentence
};

// plain, vicuna_v1, llama_2, skywork, chatml, smollm2, nano (docs/formats.md). Throws Error that lists them.
const ChatTemplate& chat_template(std::string_view name);

// Why a sample cannot be trained on.
enum class Skip : std::uint8_t { none, unreadable, bad_image, bad_text, empty_answer, no_answer, too_long, filtered };
inline constexpr int skip_count = 8;
std::string_view name_of(Skip reason);

struct TokenizedSample {
  std::vector<std::int32_t> tokens;           // visual slots of the k-th picture: -1 - k
  std::vector<std::int32_t> labels;           // the token that each position must predict; -1: none
  std::vector<std::int32_t> image_positions;  // where each picture's visual slots begin
  std::vector<int> images;                    // their indices into Sample::images
  Skip skip = Skip::none;                     // otherwise the rest is empty
  std::string detail;                         // what was wrong
  int turns_cut = 0;                          // turns left out at the length limit
  bool answer_cut = false;                    // the only answer was shortened; its end mark is gone and not trained
};

class PromptBuilder {
 public:
  struct Options {
    int visual_tokens = 0;                   // of one picture: the resampler's
    int max_tokens = 2048;                   // of a sample, visual ones included
    bool cut_answers = false;                // a first answer that is too long loses its end: for documents
    std::optional<std::string> system = {};  // in place of the template's
  };

  // Throws Error where the tokenizer lacks a token that the template needs.
  PromptBuilder(std::shared_ptr<const Tokenizer> tokenizer, const ChatTemplate& format, const Options& options);

  // To be trained on. What is too long loses turns from its end, never visual slots; an answer is whole, with its end
  // mark, except where `cut_answers` is on. A user's turn without answer is left out. Never throws for a bad sample,
  // one whose first turn does not fit among them: see `skip`.
  TokenizedSample tokenize(const Sample& sample) const;

  // To be answered: the same up to the mark after which the answer of the last turn comes. Has no labels. An answer
  // that the last turn has is left out. Throws Error where it is longer than the limit.
  TokenizedSample prompt(const Sample& sample) const;

  std::int32_t stop_token() const { return stop_; }  // generation ends here
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const Options& options() const { return options_; }

 private:
  struct Turn;
  class Writer;

  // What every sample's text begins with, as far as its tokens are always the same: most of a template's system text.
  struct Opening {
    std::string text;
    std::vector<std::int32_t> ids;
  };

  Opening find_opening() const;
  std::vector<Turn> turns_of(const Sample& sample) const;
  void write_question(Writer& writer, const Turn& turn, bool first) const;
  void write_answer(Writer& writer, const Turn& turn) const;
  TokenizedSample tokenize_turns(const std::vector<Turn>& turns) const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  ChatTemplate format_;
  Options options_;
  std::string system_;
  std::int32_t stop_ = -1;
  Opening opening_;
};

}  // namespace skymm
