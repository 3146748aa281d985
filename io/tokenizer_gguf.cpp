#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/byte_pair.hpp"
#include "io/file.hpp"
#include "io/text_splitter.hpp"
#include "io/tokenizer_files.hpp"
#include "io/weights/gguf.hpp"

namespace skymm {
namespace {

// tokenizer.ggml.token_type, which are SentencePiece's types of pieces.
enum class TokenType : int { normal = 1, unknown, control, user_defined, unused, byte };

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
};

Vocabulary vocabulary_of(const GgufFile& file) {
  Vocabulary out{file.texts("tokenizer.ggml.tokens"), {}};
  out.types.assign(out.tokens.size(), TokenType::normal);
  if (!file.has("tokenizer.ggml.token_type")) return out;
  const std::vector<double>& types = file.numbers("tokenizer.ggml.token_type");
  check(types.size() == out.tokens.size(), "{}: there are {} tokens and {} types of tokens", file.path(),
        out.tokens.size(), types.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    check(types[i] >= 1 && types[i] <= 6, "{}: token {} is of the unknown type {}", file.path(), i, types[i]);
    out.types[i] = static_cast<TokenType>(static_cast<int>(types[i]));
  }
  return out;
}

std::int32_t special(const GgufFile& file, const char* name, std::size_t tokens) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  const std::int64_t id = file.integer(key, -1);
  check(id >= -1 && id < static_cast<std::int64_t>(tokens), "{}: {} is {}, there are {} tokens", file.path(), key, id,
        tokens);
  return static_cast<std::int32_t>(id);
}

// How text is cut, by tokenizer.ggml.pre.
void read_family(const GgufFile& file, BytePairModel& model) {
  const std::string family = file.text("tokenizer.ggml.pre", "gpt-2");
  if (family == "gpt-2" || family == "default") {
    if (family == "default" || !file.has("tokenizer.ggml.pre")) {
      log::warn(
          "{} does not say how text is cut (tokenizer.ggml.pre), and is cut as GPT-2's; if it is another model's, give "
          "that one's tokenizer.json",
          file.path());
    }
    model.patterns = {gpt2_pattern};
  } else if (family == "smollm" || family == "starcoder" || family == "refact") {
    model.patterns = {digits_pattern, gpt2_pattern};
  } else if (family == "qwen2") {
    model.patterns = {qwen2_pattern};
    model.compose = true;
  } else if (family == "llama-bpe" || family == "llama3" || family == "llama-v3") {
    model.patterns = {llama3_pattern};
    model.whole_pieces = true;
  } else {
    fail(
        "{}: text is cut as '{}' (tokenizer.ggml.pre), which is not known; there are gpt-2, smollm, qwen2, llama-bpe: "
        "give the model's tokenizer.json",
        file.path(), family);
  }
}

BytePairModel byte_pair_of(const GgufFile& file) {
  Vocabulary vocabulary = vocabulary_of(file);
  BytePairModel model;
  model.path = file.path();
  for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const bool control = vocabulary.types[i] == TokenType::control;
    if (control || vocabulary.types[i] == TokenType::user_defined) {
      model.added.push_back({static_cast<std::int32_t>(i), vocabulary.tokens[i], control});
    }
  }
  const std::size_t count = vocabulary.tokens.size();
  model.tokens = std::move(vocabulary.tokens);
  for (const std::string& merge : file.texts("tokenizer.ggml.merges")) {
    const std::size_t space = merge.find(' ', 1);
    check(space != std::string::npos, "{}: '{}' is not a merge of two tokens", file.path(), merge);
    model.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  read_family(file, model);
  model.bos = special(file, "bos", count);
  model.eos = special(file, "eos", count);
  model.pad = special(file, "padding", count);
  return model;
}

// The step of Hugging Face's tokenizers that puts a token in front.
nlohmann::json puts_in_front(const std::string& token, std::int32_t id) {
  const nlohmann::json first = {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  const nlohmann::json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const nlohmann::json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", {first, text}},
          {"pair", {first, text, second}},
          {"special_tokens", {{token, {{"id", token}, {"ids", {id}}, {"tokens", {token}}}}}}};
}

// As Hugging Face's tokenizers read it.
nlohmann::json tokenizer_json(const BytePairModel& model, bool bos_in_front) {
  using nlohmann::json;
  json vocabulary = json::object(), merges = json::array(), added = json::array(), cut = json::array();
  for (std::size_t i = 0; i < model.tokens.size(); ++i) vocabulary[model.tokens[i]] = i;
  for (const auto& [left, right] : model.merges) merges.push_back(left + " " + right);
  for (const AddedToken& token : model.added) {
    added.push_back({{"id", token.id},
                     {"content", token.text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", token.special}});
  }
  for (const std::string& pattern : model.patterns) {
    cut.push_back({{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  cut.push_back(bytes);
  const bool front_token = bos_in_front && model.bos >= 0;
  const json front = front_token ? puts_in_front(model.tokens[static_cast<std::size_t>(model.bos)], model.bos) : json();
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", model.compose ? json{{"type", "NFC"}} : json()},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", cut}}},
          {"post_processor", front},
          {"decoder", bytes},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", model.whole_pieces},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

// A SentencePiece model is a protocol buffer message; these are its fields (sentencepiece_model.proto).
class Message {
 public:
  void number(int field, std::uint64_t value) {
    tag(field, 0);
    varint(value);
  }
  void real(int field, float value) {
    tag(field, 5);
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    bytes_.append(bytes, sizeof bytes);
  }
  void text(int field, const std::string& value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void tag(int field, int wire) { varint(static_cast<std::uint64_t>(field << 3 | wire)); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

std::string sentencepiece_of(const GgufFile& file) {
  const Vocabulary vocabulary = vocabulary_of(file);
  const std::vector<double>& scores = file.numbers("tokenizer.ggml.scores");
  const std::size_t count = vocabulary.tokens.size();
  check(scores.size() == count, "{}: there are {} tokens and {} scores", file.path(), count, scores.size());
  Message model, trainer, normalizer;
  bool bytes = false;
  for (std::size_t i = 0; i < count; ++i) {
    Message piece;
    piece.text(1, vocabulary.tokens[i]);
    piece.real(2, static_cast<float>(scores[i]));
    piece.number(3, static_cast<std::uint64_t>(vocabulary.types[i]));
    model.text(1, piece.bytes());
    bytes = bytes || vocabulary.types[i] == TokenType::byte;
  }
  trainer.number(3, 2);  // BPE
  trainer.number(4, count);
  trainer.number(35, bytes ? 1 : 0);  // byte fallback
  struct Special {
    const char* name;
    int id_field, text_field;
  };
  for (const Special& s : {Special{"unknown", 40, 45}, {"bos", 41, 46}, {"eos", 42, 47}, {"padding", 43, 48}}) {
    const std::int32_t id = special(file, s.name, count);
    trainer.number(s.id_field, static_cast<std::uint64_t>(static_cast<std::int64_t>(id)));
    if (id >= 0) trainer.text(s.text_field, vocabulary.tokens[static_cast<std::size_t>(id)]);
  }
  normalizer.text(1, "identity");
  normalizer.number(3, file.flag("tokenizer.ggml.add_space_prefix", true) ? 1 : 0);
  normalizer.number(4, 0);  // spaces are not removed
  normalizer.number(5, 1);  // but spelled as U+2581
  model.text(2, trainer.bytes());
  model.text(3, normalizer.bytes());
  return model.bytes();
}

// Of the two kinds of vocabularies that are supported: byte-level BPE, or SentencePiece's.
bool is_byte_level(const GgufFile& file) {
  const std::string model = file.text("tokenizer.ggml.model", "none");
  check(model == "gpt2" || model == "llama",
        "{} has a tokenizer of the kind '{}'; gpt2 and llama are supported: give --model.tokenizer", file.path(),
        model);
  return model == "gpt2";
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_gguf(const std::string& path) {
  const GgufFile file(path);
  if (is_byte_level(file)) return make_byte_pair_tokenizer(byte_pair_of(file));
  return make_sentencepiece_tokenizer(sentencepiece_of(file), path);
}

void write_tokenizer_of_gguf(const std::string& path, const std::string& folder) {
  const GgufFile file(path);
  const bool byte_level = is_byte_level(file);
  nlohmann::json config = {{"tokenizer_class", byte_level ? "PreTrainedTokenizerFast" : "LlamaTokenizer"},
                           {"add_eos_token", file.flag("tokenizer.ggml.add_eos_token", false)},
                           {"clean_up_tokenization_spaces", false}};
  const std::vector<std::string>& tokens = file.texts("tokenizer.ggml.tokens");
  for (const auto& [name, field] :
       {std::pair{"bos", "bos_token"}, {"eos", "eos_token"}, {"padding", "pad_token"}, {"unknown", "unk_token"}}) {
    const std::int32_t id = special(file, name, tokens.size());
    if (id >= 0) config[field] = tokens[static_cast<std::size_t>(id)];
  }
  if (file.has("tokenizer.chat_template")) config["chat_template"] = file.text("tokenizer.chat_template");
  bool bos_in_front = false;  // where the file does not say, as llama.cpp has it
  if (byte_level) {
    const BytePairModel model = byte_pair_of(file);
    bos_in_front = file.flag("tokenizer.ggml.add_bos_token", model.whole_pieces);  // LLaMA-3's
    write_file(folder + "/tokenizer.json", tokenizer_json(model, bos_in_front).dump() + "\n");
  } else {
    bos_in_front = file.flag("tokenizer.ggml.add_bos_token", true);
    config["legacy"] = false;
    write_file(folder + "/tokenizer.model", sentencepiece_of(file));
  }
  config["add_bos_token"] = bos_in_front;
  write_file(folder + "/tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace skymm
