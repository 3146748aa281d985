#include <algorithm>
#include <filesystem>

#include "core/error.hpp"
#include "io/byte_pair.hpp"
#include "io/json.hpp"
#include "io/text_splitter.hpp"
#include "io/tokenizer_files.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A field of an object; null where there is none.
const json& field(const json& object, const char* key) {
  static const json none;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : none;
}

bool is_true(const json& value) { return value.is_boolean() && value.get<bool>(); }
std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }
std::string type_of(const json& value) { return text_of(field(value, "type")); }

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(read_json(path)) { model_.path = path; }

  BytePairModel read() {
    const json& model = field(file_, "model");
    const bool byte_level = (type_of(model) == "BPE" || model.contains("merges")) &&
                            type_of(field(file_, "decoder")) == "ByteLevel" && !is_true(field(model, "byte_fallback"));
    check(byte_level,
          "{} is not a byte-level BPE (model '{}', decoder '{}'); where the model has a tokenizer.model, give that",
          path_, type_of(model), type_of(field(file_, "decoder")));
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      const json& value = field(model, key);
      refuse_unless(value.is_null() || value == "" || value == 0, std::string("model.") + key, value);
    }
    read_vocabulary(field(model, "vocab"));
    read_merges(field(model, "merges"));
    read_added(field(file_, "added_tokens"));
    read_normalizer(field(file_, "normalizer"));
    read_pre_tokenizer(field(file_, "pre_tokenizer"));
    model_.whole_pieces = is_true(field(model, "ignore_merges"));
    model_.unknown = find(text_of(field(model, "unk_token")));
    read_special_tokens();
    return std::move(model_);
  }

 private:
  void refuse_unless(bool ok, const std::string& what, const json& value) const {
    check(ok, "{}: {} is {}, which is not supported", path_, what,
          value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 200));
  }

  void read_vocabulary(const json& vocabulary) {
    check(vocabulary.is_object(), "{}: model.vocab is not an object", path_);
    for (const auto& [token, id] : vocabulary.items()) {
      check(id.is_number_unsigned() && id < 1 << 24, "{}: the token '{}' has the impossible id {}", path_, token,
            id.dump());
      const auto place = id.get<std::size_t>();
      if (place >= model_.tokens.size()) model_.tokens.resize(place + 1);
      check(model_.tokens[place].empty(), "{}: the tokens '{}' and '{}' both have the id {}", path_,
            model_.tokens[place], token, place);
      model_.tokens[place] = token;
    }
  }

  // "a b", or in newer files ["a", "b"].
  void read_merges(const json& merges) {
    check(merges.is_array(), "{}: model.merges is not an array", path_);
    for (const json& merge : merges) {
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        model_.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
        continue;
      }
      const std::string text = text_of(merge);
      const std::size_t space = text.find(' ');
      refuse_unless(space != std::string::npos && text.find(' ', space + 1) == std::string::npos, "a merge", merge);
      model_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    }
  }

  void read_added(const json& added) {
    for (const json& token : added) {
      refuse_unless(field(token, "id").is_number_unsigned() && field(token, "id") < 1 << 24 &&
                        field(token, "content").is_string(),
                    "an added token", token);
      const bool special = is_true(field(token, "special"));
      for (const char* key : {"lstrip", "rstrip", "single_word"}) {
        refuse_unless(special || !is_true(field(token, key)), "an added token", token);
      }
      model_.added.push_back({token["id"].get<std::int32_t>(), token["content"].get<std::string>(), special});
    }
  }

  void read_normalizer(const json& normalizer) {
    if (normalizer.is_null()) return;
    if (type_of(normalizer) == "Sequence") {
      for (const json& step : field(normalizer, "normalizers")) read_normalizer(step);
      return;
    }
    refuse_unless(type_of(normalizer) == "NFC", "normalizer", normalizer);
    model_.compose = true;
  }

  void read_pre_tokenizer(const json& step) {
    const std::string type = type_of(step);
    if (type == "Sequence") {
      for (const json& inner : field(step, "pretokenizers")) read_pre_tokenizer(inner);
    } else if (type == "ByteLevel") {
      refuse_unless(!is_true(field(step, "add_prefix_space")), "pre_tokenizer", step);
      const json& use_regex = field(step, "use_regex");
      if (use_regex.is_null() || is_true(use_regex)) model_.patterns.emplace_back(gpt2_pattern);
    } else if (type == "Digits") {
      model_.patterns.push_back(is_true(field(step, "individual_digits")) ? digits_pattern : R"(\p{N}+)");
    } else {
      const json& pattern = field(step, "pattern");
      const bool isolated = text_of(field(step, "behavior")) == "Isolated" && !is_true(field(step, "invert"));
      refuse_unless(type == "Split" && isolated && field(pattern, "Regex").is_string(), "pre_tokenizer", step);
      model_.patterns.push_back(pattern["Regex"].get<std::string>());
    }
  }

  std::int32_t find(const std::string& token) const {
    if (token.empty()) return -1;
    for (const AddedToken& added : model_.added) {
      if (added.text == token) return added.id;
    }
    const auto found = std::ranges::find(model_.tokens, token);
    return found == model_.tokens.end() ? -1 : static_cast<std::int32_t>(found - model_.tokens.begin());
  }

  // tokenizer_config.json names them, as text or as an object; config.json has their ids.
  void read_special_tokens() {
    const fs::path folder = fs::path(path_).parent_path();
    const auto beside = [&](const char* name) {
      return fs::exists(folder / name) ? read_json((folder / name).string()) : json::object();
    };
    const json names = beside("tokenizer_config.json"), ids = beside("config.json");
    const auto token = [&](const char* name) {
      const json& value = field(names, fmt::format("{}_token", name).c_str());
      const std::int32_t found = find(value.is_object() ? text_of(field(value, "content")) : text_of(value));
      if (found >= 0) return found;
      const json& id = field(ids, fmt::format("{}_token_id", name).c_str());
      const json& first = id.is_array() && !id.empty() ? id[0] : id;
      return first.is_number_unsigned() && first < 1 << 24 ? first.get<std::int32_t>() : -1;
    };
    model_.bos = token("bos");
    model_.eos = token("eos");
    model_.pad = token("pad");
  }

  std::string path_;
  json file_;
  BytePairModel model_;
};

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& path) {
  return make_byte_pair_tokenizer(Reader(path).read());
}

}  // namespace skymm
