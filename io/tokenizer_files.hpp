// The kinds of tokenizer files, which load_tokenizer tells apart.
#pragma once

#include <memory>
#include <string>

#include "io/tokenizer.hpp"

namespace skymm {

// A serialised SentencePiece model.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(const std::string& bytes, const std::string& path);

// Hugging Face's tokenizer.json of a byte-level BPE; bos, eos and padding come from tokenizer_config.json or
// config.json beside it. Throws Error that names what is not supported.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& path);

// The vocabulary of a GGUF file: of model "gpt2" (byte-level BPE) or "llama" (SentencePiece's BPE by scores).
std::unique_ptr<Tokenizer> load_tokenizer_gguf(const std::string& path);

// Writes that vocabulary to `folder` as transformers loads it: tokenizer.json or tokenizer.model, and
// tokenizer_config.json with the special tokens and the chat template. Throws Error where load_tokenizer_gguf does.
void write_tokenizer_of_gguf(const std::string& path, const std::string& folder);

}  // namespace skymm
