// Text to token ids and back. Prompts are tokenized part by part, so that encoding must be exact at any boundary:
// the decoded ids of the parts, one after the other, are the text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

enum class TextPlace : std::uint8_t {
  start,  // the first text of a sequence: gets the space in front that LLaMA's tokenizers put there
  middle  // goes on after other tokens: gets nothing
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<std::int32_t> encode(std::string_view text, TextPlace place = TextPlace::start) const = 0;
  // The text of `ids`; control tokens (bos, eos, pad) have none. Bytes that do not make UTF-8 become U+FFFD.
  virtual std::string decode(std::span<const std::int32_t> ids, TextPlace place = TextPlace::start) const = 0;

  virtual std::int32_t vocab_size() const = 0;
  virtual std::int32_t bos() const = 0;  // -1: none
  virtual std::int32_t eos() const = 0;
  virtual std::int32_t pad() const = 0;  // never eos: a model whose padding is eos cannot learn to stop
  virtual std::string piece(std::int32_t id) const = 0;
  virtual std::int32_t find_piece(std::string_view piece) const = 0;  // -1 where there is no such token

  // True where it is known that no token begins in `text` and goes on in a space behind it: the ids of text + " more"
  // are those of `text` and, in the middle, of " more".
  virtual bool ends_at_space(std::string_view) const { return false; }
};

// By content: a SentencePiece model (ours, LLaMA's, Skywork's), Hugging Face's tokenizer.json of a byte-level BPE
// (GPT-2, SmolLM2, Qwen2, LLaMA-3), the vocabulary of a GGUF file, or a folder with one of them. Thread-safe. Throws
// Error for a file that is absent or none of these.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);

struct TokenizerTraining {
  int vocab_size = 8192;
  // Text that is one token each, wherever it occurs, the longest first: " dumpling" (with the space in front, so that
  // only words that begin so are touched), "饺子". Repeated entries count once.
  std::vector<std::string> symbols;
  bool byte_fallback = true;           // characters out of the vocabulary become bytes, so that no text is lost
  double character_coverage = 0.9995;  // share of the corpus' characters that get a piece of their own
};

// BPE over the lines of a UTF-8 text file, written to `model_path`. No normalisation, no space in front:
// decode(encode(x)) is x. Ids: 0 unknown, 1 bos, 2 eos, 3 pad, then symbols, bytes and pieces. The same corpus and
// options give the same bytes. Throws Error where the corpus is absent, empty or too small for the vocabulary.
void train_tokenizer(const std::string& corpus_path, const std::string& model_path, const TokenizerTraining& options);

}  // namespace skymm
