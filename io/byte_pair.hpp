// Byte-level BPE, the tokenizers of GPT-2, SmolLM2, Qwen2 and LLaMA-3: text is cut into pieces, the bytes of a piece
// are tokens, and neighbours are merged in the order of a table. (Sennrich et al. 2016; Radford et al. 2019)
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/tokenizer.hpp"

namespace skymm {

struct AddedToken {
  std::int32_t id = -1;
  std::string text;
  bool special = true;  // a control token: text never becomes one. Otherwise wherever the text occurs, it is this token
};

struct BytePairModel {
  std::vector<std::string> tokens;  // of each id, in GPT-2's alphabet of printable characters for bytes; "": no token
  std::vector<std::pair<std::string, std::string>> merges;  // the first is merged first
  std::vector<AddedToken> added;
  std::vector<std::string> patterns;  // of TextSplitter
  bool compose = false;               // text is brought to NFC first
  bool whole_pieces = false;          // a piece that is a token is that token, whatever the merges say
  std::int32_t bos = -1, eos = -1, pad = -1, unknown = -1;  // -1: none
  std::string path;                                         // for messages
};

// Encoding is Hugging Face's, id by id, but for two things: text never becomes a special token, and no token is put in
// front. A byte that has no token becomes `unknown` or, as there, nothing where there is none. Text that is not UTF-8
// is an Error. Padding is a token that is not eos. Throws Error where merges or ids do not fit the tokens.
std::unique_ptr<Tokenizer> make_byte_pair_tokenizer(BytePairModel model);

}  // namespace skymm
