#include "io/tokenizer.hpp"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <unordered_map>
#include <unordered_set>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/sentencepiece_model.hpp"
#include "io/tokenizer_files.hpp"
#include "io/utf8.hpp"
#include "io/weights/source.hpp"

namespace skymm {
namespace {

constexpr std::string_view space_mark = "\u2581";  // SentencePiece's stand-in for a space

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& bytes, const std::string& path) {
    check_sentencepiece_model(bytes, path);
    const auto status = processor_.LoadFromSerializedProto(bytes);
    check(status.ok() && !bytes.empty(), "{} is not a SentencePiece model ({}); give the tokenizer.model of the LLM",
          path, bytes.empty() ? "it is empty" : status.message());
    texts_.reserve(static_cast<std::size_t>(processor_.GetPieceSize()));
    for (int id = 0; id < processor_.GetPieceSize(); ++id) texts_.push_back(text_of(id));
    pad_ = processor_.pad_id();
    if (pad_ < 0 || pad_ == eos()) pad_ = processor_.unk_id();
    check(pad_ >= 0 && pad_ != eos(), "{} has no token for padding other than its end mark", path);
    // "\n" joins no piece of the models in use, so it shows what is put in front of a text, and shields against it.
    shield_ = ids_of("\n");
    const std::string first = shield_.empty() ? "" : processor_.IdToPiece(shield_[0]);
    space_in_front_ = shield_.size() > 1 && first == space_mark;
  }

  std::vector<std::int32_t> encode(std::string_view text, TextPlace place) const override {
    if (text.empty()) return {};
    if (place == TextPlace::start || !space_in_front_) return ids_of(text);
    std::vector<std::int32_t> ids = ids_of(fmt::format("\n{}", text));
    const bool shielded = ids.size() >= shield_.size() && std::equal(shield_.begin(), shield_.end(), ids.begin());
    check(shielded, "this tokenizer joins a line break with what follows ('{}'); it cannot encode a prompt by parts",
          text);
    ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(shield_.size()));
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, TextPlace place) const override {
    std::string text;
    for (const std::int32_t id : ids) text += texts_[checked(id)];
    const bool strip = place == TextPlace::start && space_in_front_ && text.starts_with(' ');
    return valid_utf8(strip ? std::string_view(text).substr(1) : std::string_view(text));
  }

  std::int32_t vocab_size() const override { return processor_.GetPieceSize(); }
  std::int32_t bos() const override { return processor_.bos_id(); }
  std::int32_t eos() const override { return processor_.eos_id(); }
  std::int32_t pad() const override { return pad_; }
  std::string piece(std::int32_t id) const override { return processor_.IdToPiece(static_cast<int>(checked(id))); }
  std::int32_t find_piece(std::string_view piece) const override {
    const int id = processor_.PieceToId(piece);
    return processor_.IdToPiece(id) == piece ? id : -1;  // PieceToId gives "unknown" for what it has not
  }

  // What joins pieces are pieces themselves: without one that holds the last character and a space, nothing is joined
  // there. The trial shows whether a normaliser changes spaces.
  bool ends_at_space(std::string_view text) const override {
    if (text.empty() || static_cast<unsigned char>(text.back()) >= 0x80 || text.back() == ' ') return false;
    const std::string across = fmt::format("{} ", text.back());
    for (const std::string& piece : texts_) {
      if (piece.find(across) != std::string::npos) return false;
    }
    for (const std::string_view rest : {" a", "  a", " "}) {
      std::vector<std::int32_t> ids = encode(text, TextPlace::start), more = encode(rest, TextPlace::middle);
      ids.insert(ids.end(), more.begin(), more.end());
      if (ids != encode(fmt::format("{}{}", text, rest), TextPlace::start)) return false;
    }
    return true;
  }

 private:
  std::size_t checked(std::int32_t id) const {
    check(0 <= id && id < vocab_size(), "token {} is outside the vocabulary of {}", id, vocab_size());
    return static_cast<std::size_t>(id);
  }

  std::string text_of(int id) const {
    if (processor_.IsControl(id)) return {};
    if (processor_.IsUnknown(id)) return "\uFFFD";
    const std::string& piece = processor_.IdToPiece(id);
    if (!processor_.IsByte(id)) return replace_all(piece, space_mark, " ");
    unsigned byte = 0;  // "<0x0A>"
    std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
    return std::string(1, static_cast<char>(byte));
  }

  std::vector<std::int32_t> ids_of(std::string_view text) const {
    std::vector<int> ids;
    const auto status = processor_.Encode(text, &ids);
    check(status.ok(), "cannot tokenize '{}': {}", text, status.message());
    return {ids.begin(), ids.end()};
  }

  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> texts_;  // of each id
  std::vector<std::int32_t> shield_;
  std::int32_t pad_ = -1;
  bool space_in_front_ = false;
};

// The lines of a text in memory. Given to the trainer in place of a path, which it would write into the model.
class Lines final : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(const std::string& text) : text_(text) { Next(); }
  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }
  void Next() override {
    done_ = at_ >= text_.size();
    if (done_) return;
    const std::size_t end = std::min(text_.find('\n', at_), text_.size());
    line_ = text_.substr(at_, end - at_);
    at_ = end + 1;
  }

 private:
  const std::string& text_;
  std::string line_;
  std::size_t at_ = 0;
  bool done_ = false;
};

// One field of comma-separated values; quotes inside are doubled.
std::string quoted(const std::string& symbol) {
  return symbol.find_first_of(",\"") == std::string::npos ? symbol : '"' + replace_all(symbol, "\"", "\"\"") + '"';
}

std::string symbol_list(const std::vector<std::string>& symbols) {
  std::unordered_set<std::string> seen;
  std::string list;
  for (const std::string& symbol : symbols) {
    check(!symbol.empty() && symbol.find('\n') == std::string::npos && is_utf8(symbol),
          "a tokenizer symbol must be UTF-8 text of one line, not empty; got '{}'", valid_utf8(symbol));
    if (!seen.insert(symbol).second) continue;
    if (!list.empty()) list += ',';
    list += quoted(replace_all(symbol, " ", space_mark));
  }
  return list;
}

// In a folder: SentencePiece's model where there is one, for tokenizer.json of the same model is not always byte-level.
std::string tokenizer_file(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
    if (fs::exists(fs::path(path) / name)) return (fs::path(path) / name).string();
  }
  for (const fs::directory_entry& file : fs::directory_iterator(path)) {
    if (file.path().extension() == ".gguf") return weights_file(path);
  }
  fail("{} has neither tokenizer.model nor tokenizer.json; give the model's tokenizer", path);
}

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& bytes, const std::string& path) {
  return std::make_unique<SentencePieceTokenizer>(bytes, path);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  const std::string file = tokenizer_file(path);
  std::string start(4, '\0');
  std::ifstream(file, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start == "GGUF") return load_tokenizer_gguf(file);
  if (start.starts_with('{')) return load_tokenizer_json(file);
  return make_sentencepiece_tokenizer(read_file(file), file);
}

void train_tokenizer(const std::string& corpus_path, const std::string& model_path, const TokenizerTraining& options) {
  const std::string corpus = read_file(corpus_path);
  check(corpus.find_first_not_of(" \n\r\t") != std::string::npos, "the corpus {} is empty", corpus_path);
  std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"byte_fallback", options.byte_fallback ? "true" : "false"},
      {"character_coverage", fmt::format("{}", options.character_coverage)},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"split_digits", "true"},
      {"max_sentence_length", "1048576"},  // bytes; longer lines would be left out
      {"input_sentence_size", "0"},        // all lines, in their order
      {"num_threads", "1"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"minloglevel", "1"},
  };
  if (!options.symbols.empty()) settings["user_defined_symbols"] = symbol_list(options.symbols);
  Lines lines(corpus);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &lines, &model);
  check(status.ok(), "cannot train a tokenizer of {} tokens on {}: {}; use a larger corpus or a smaller vocab_size",
        options.vocab_size, corpus_path, status.message());
  write_file(model_path, model);
}

}  // namespace skymm
