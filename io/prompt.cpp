#include "io/prompt.hpp"

#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

constexpr std::string_view vicuna_system =
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.";
constexpr std::string_view llama_system =
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language.";

// ChatML with the system text that a model was tuned with.
ChatTemplate chatml(std::string_view name, std::string_view system) {
  return {.name = name,
          .system = system,
          .system_block = "<|im_start|>system\n{system}<|im_end|>\n",
          .first_user = "<|im_start|>user\n",
          .user = "<|im_start|>user\n",
          .after_image = "\n",
          .answer = "<|im_end|>\n<|im_start|>assistant\n",
          .answer_end = "<|im_end|>",
          .turn_end = "\n",
          .special = {"<|im_start|>", "<|im_end|>"}};
}

const std::vector<ChatTemplate>& templates() {
  static const std::vector<ChatTemplate> all = {
      {.name = "plain", .begin = "{bos}", .answer_end = "{eos}", .user_text = false},
      {.name = "vicuna_v1",
       .system = vicuna_system,
       .begin = "{bos}",
       .system_block = "{system} ",
       .first_user = "USER: ",
       .user = "USER: ",
       .after_image = "\n",
       .answer = " ASSISTANT:",
       .before_text = " ",
       .answer_end = "{eos}"},
      {.name = "llama_2",
       .system = llama_system,
       .begin = "{bos}[INST] ",
       .system_block = "<<SYS>>\n{system}\n<</SYS>>\n\n",
       .user = "{bos}[INST] ",
       .after_image = "\n",
       .answer = " [/INST]",
       .before_text = " ",
       .after_text = " ",
       .answer_end = "{eos}"},
      {.name = "skywork",
       .begin = "{bos}",
       .system_block = "{system}",
       .first_user = "[USER]",
       .user = "[USER]",
       .after_image = "\n",
       .answer = "[SEP][BOT]",
       .answer_end = "{eos}",
       .special = {"[USER]", "[SEP]", "[BOT]"}},
      chatml("chatml", "You are a helpful assistant."),
      chatml("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
      {.name = "nano",
       .begin = "{bos}",
       .after_image = "\n",
       .answer = "\n",
       .answer_end = "{eos}",
       .space_words = true},
  };
  return all;
}

bool starts_a_word(std::string_view text) {
  const char c = text.empty() ? ' ' : text[0];
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

const ChatTemplate& chat_template(std::string_view name) {
  std::string names;
  for (const ChatTemplate& candidate : templates()) {
    if (candidate.name == name) return candidate;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", candidate.name);
  }
  fail("prompt template '{}' is unknown; use one of: {}", name, names);
}

std::string_view name_of(Skip reason) {
  constexpr std::array<std::string_view, skip_count> names = {"none",         "unreadable", "bad image", "bad text",
                                                              "empty answer", "no answer",  "too long",  "filtered"};
  return names[static_cast<std::size_t>(reason)];
}

struct PromptBuilder::Turn {
  std::vector<const Part*> question;  // text and pictures
  const Part* answer = nullptr;
};

// Appends parts to a sample. Text that follows text of the same kind is tokenized together with it, as one string.
class PromptBuilder::Writer {
 public:
  explicit Writer(const PromptBuilder& builder) : builder_(builder) {}

  // Text of the template, with its special tokens.
  void literal(std::string_view text, bool trained) {
    while (!text.empty()) {
      std::size_t at = text.size();
      std::string_view found;
      const auto look_for = [&](std::string_view mark) {
        const std::size_t place = text.find(mark);
        if (place < at) at = place, found = mark;
      };
      for (const std::string_view mark : {"{bos}", "{eos}", "{system}"}) look_for(mark);
      for (const std::string_view mark : builder_.format_.special) look_for(mark);
      this->text(text.substr(0, at), trained);
      if (found == "{system}") {
        this->text(builder_.system_, trained);
      } else if (!found.empty()) {
        token(special(found), trained);
      }
      text.remove_prefix(at + found.size());
    }
  }

  void text(std::string_view text, bool trained) {
    if (trained != pending_trained_) flush();
    pending_trained_ = trained;
    pending_ += text;
  }

  void image(int index) {
    flush();
    out_.image_positions.push_back(length());
    const auto slot = static_cast<std::int32_t>(-1 - static_cast<int>(out_.images.size()));
    out_.images.push_back(index);
    out_.tokens.insert(out_.tokens.end(), static_cast<std::size_t>(builder_.options_.visual_tokens), slot);
    trained_.resize(out_.tokens.size(), 0);
  }

  const std::string& pending() const { return pending_; }
  bool at_line_start() const { return pending_.empty() || pending_.back() == '\n'; }

  std::int32_t length() {
    flush();
    return static_cast<std::int32_t>(out_.tokens.size());
  }

  void cut(std::int32_t length) {
    flush();
    out_.tokens.resize(static_cast<std::size_t>(length));
    trained_.resize(static_cast<std::size_t>(length));
    while (!out_.image_positions.empty() && out_.image_positions.back() >= length) {
      out_.image_positions.pop_back();
      out_.images.pop_back();
    }
  }

  TokenizedSample& sample() { return out_; }

  TokenizedSample finish() {
    flush();
    const std::size_t n = out_.tokens.size();
    out_.labels.assign(n, -1);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      if (trained_[i + 1]) out_.labels[i] = out_.tokens[i + 1];
    }
    return std::move(out_);
  }

  std::int32_t special(std::string_view mark) const {
    const Tokenizer& tokenizer = *builder_.tokenizer_;
    const std::int32_t id = mark == "{bos}"   ? tokenizer.bos()
                            : mark == "{eos}" ? tokenizer.eos()
                                              : tokenizer.find_piece(mark);
    check(id >= 0, "the prompt template '{}' needs the token {}, which the tokenizer has not; choose another template",
          builder_.format_.name, mark);
    return id;
  }

 private:
  void token(std::int32_t id, bool trained) {
    flush();
    out_.tokens.push_back(id);
    trained_.push_back(trained);
  }

  void flush() {
    if (pending_.empty()) return;
    auto place =
        out_.tokens.empty() || out_.tokens.back() == builder_.tokenizer_->bos() ? TextPlace::start : TextPlace::middle;
    std::string_view text = pending_;
    const Opening& opening = builder_.opening_;
    if (place == TextPlace::start && !opening.ids.empty() && text.starts_with(opening.text) &&
        text.substr(opening.text.size()).starts_with(' ')) {
      out_.tokens.insert(out_.tokens.end(), opening.ids.begin(), opening.ids.end());
      text.remove_prefix(opening.text.size());
      place = TextPlace::middle;
    }
    const std::vector<std::int32_t> ids = builder_.tokenizer_->encode(text, place);
    out_.tokens.insert(out_.tokens.end(), ids.begin(), ids.end());
    trained_.resize(out_.tokens.size(), pending_trained_);
    pending_.clear();
  }

  const PromptBuilder& builder_;
  TokenizedSample out_;
  std::vector<char> trained_;  // of each token
  std::string pending_;
  bool pending_trained_ = false;
};

PromptBuilder::PromptBuilder(std::shared_ptr<const Tokenizer> tokenizer, const ChatTemplate& format,
                             const Options& options)
    : tokenizer_(std::move(tokenizer)),
      format_(format),
      options_(options),
      system_(options.system.value_or(std::string(format.system))) {
  check(options_.visual_tokens >= 0 && options_.max_tokens > 0,
        "visual_tokens {} and max_tokens {} of a prompt must be positive", options_.visual_tokens, options_.max_tokens);
  check(system_.empty() || !format_.system_block.empty(), "the prompt template '{}' has no place for a system text",
        format_.name);
  Writer writer(*this);
  for (const auto text : {format_.begin, format_.system_block, format_.first_user, format_.user, format_.after_image,
                          format_.answer, format_.turn_end}) {
    writer.literal(text, false);
  }
  writer.length();
  writer.literal(format_.answer_end, true);
  stop_ = writer.finish().tokens.back();
  opening_ = find_opening();
}

PromptBuilder::Opening PromptBuilder::find_opening() const {
  if (system_.empty()) return {};
  Writer writer(*this);
  writer.literal(format_.begin, false);
  writer.literal(format_.system_block, false);
  writer.literal(format_.first_user, false);
  const std::string& text = writer.pending();
  const std::size_t space = text.rfind(' ');
  if (space == std::string::npos || !tokenizer_->ends_at_space(text.substr(0, space))) return {};
  return {text.substr(0, space), tokenizer_->encode(text.substr(0, space))};
}

std::vector<PromptBuilder::Turn> PromptBuilder::turns_of(const Sample& sample) const {
  std::vector<Turn> turns(1);
  for (const Part& part : sample.parts) {
    if (turns.back().answer) turns.emplace_back();
    if (part.kind == Part::Kind::answer) {
      turns.back().answer = &part;
    } else {
      turns.back().question.push_back(&part);
    }
  }
  return turns;
}

void PromptBuilder::write_question(Writer& writer, const Turn& turn, bool first) const {
  if (first) {
    writer.literal(format_.begin, false);
    if (!system_.empty()) writer.literal(format_.system_block, false);
  }
  writer.literal(first ? format_.first_user : format_.user, false);
  bool after_image = false;
  for (const Part* part : turn.question) {
    if (part->kind == Part::Kind::image) {
      writer.image(part->image);
      after_image = true;
      continue;
    }
    if (!format_.user_text) continue;
    if (after_image && !part->text.starts_with(format_.after_image)) writer.literal(format_.after_image, false);
    after_image = false;
    if (format_.space_words && writer.at_line_start() && starts_a_word(part->text)) writer.text(" ", false);
    writer.text(part->text, false);
  }
  if (after_image) writer.literal(format_.after_image, false);
  writer.literal(format_.answer, false);
}

void PromptBuilder::write_answer(Writer& writer, const Turn& turn) const {
  writer.literal(format_.before_text, true);
  if (format_.space_words && starts_a_word(turn.answer->text)) writer.text(" ", true);
  writer.text(turn.answer->text, true);
  writer.literal(format_.after_text, true);
  writer.literal(format_.answer_end, true);
}

TokenizedSample PromptBuilder::tokenize_turns(const std::vector<Turn>& turns) const {
  Writer writer(*this);
  int done = 0;
  for (const Turn& turn : turns) {
    if (!turn.answer) break;
    const std::int32_t before = writer.length();
    write_question(writer, turn, done == 0);
    const std::int32_t answer_begin = writer.length();
    write_answer(writer, turn);
    if (writer.length() > options_.max_tokens) {
      if (done > 0) {
        writer.cut(before);
        break;
      }
      if (!options_.cut_answers || answer_begin >= options_.max_tokens) {
        return {.skip = Skip::too_long,
                .detail = fmt::format("{} tokens come before the answer, {} with it; the limit is {}", answer_begin,
                                      writer.length(), options_.max_tokens)};
      }
      writer.cut(options_.max_tokens);
      writer.sample().answer_cut = true;
      ++done;
      break;
    }
    ++done;
    writer.literal(format_.turn_end, false);
  }
  const auto answered = std::count_if(turns.begin(), turns.end(), [](const Turn& turn) { return turn.answer; });
  writer.sample().turns_cut = static_cast<int>(answered) - done;
  if (writer.length() > options_.max_tokens) writer.cut(options_.max_tokens);  // what follows the last end mark
  return writer.finish();
}

TokenizedSample PromptBuilder::tokenize(const Sample& sample) const {
  const auto bad = [](Skip skip, std::string detail) {
    return TokenizedSample{.skip = skip, .detail = std::move(detail)};
  };
  bool answered = false;
  for (const Part& part : sample.parts) {
    if (part.kind == Part::Kind::image) {
      const int images = static_cast<int>(sample.images.size());
      if (part.image < 0 || part.image >= images) {
        return bad(Skip::bad_image, fmt::format("a part names picture {} of {}", part.image, images));
      }
    } else if (!is_utf8(part.text)) {
      return bad(Skip::bad_text, "the text is not UTF-8");
    } else if (part.kind == Part::Kind::answer) {
      answered = true;
      if (is_blank(part.text)) return bad(Skip::empty_answer, "a caption or answer is empty");
    }
  }
  if (!answered) return bad(Skip::no_answer, "it has neither caption nor answer");
  return tokenize_turns(turns_of(sample));
}

TokenizedSample PromptBuilder::prompt(const Sample& sample) const {
  const std::vector<Turn> turns = turns_of(sample);
  Writer writer(*this);
  for (std::size_t i = 0; i < turns.size(); ++i) {
    write_question(writer, turns[i], i == 0);
    if (i + 1 == turns.size()) break;
    write_answer(writer, turns[i]);
    writer.literal(format_.turn_end, false);
  }
  check(writer.length() <= options_.max_tokens, "the prompt has {} tokens, the limit is {}; shorten it",
        writer.length(), options_.max_tokens);
  TokenizedSample out = writer.finish();
  std::fill(out.labels.begin(), out.labels.end(), -1);
  return out;
}

}  // namespace skymm
