#include "io/byte_pair.hpp"

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>

#include "core/error.hpp"
#include "io/text_splitter.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

// GPT-2's alphabet: printable bytes of Latin-1 stand for themselves, the others for U+0100 and on, in their order.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    char16_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char16_t code = printable ? static_cast<char16_t>(byte) : next++;
      std::string text;
      if (code < 0x80) {
        text = {static_cast<char>(code)};
      } else {
        text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
      bytes_[text] = static_cast<char>(byte);
      texts_[static_cast<std::size_t>(byte)] = std::move(text);
    }
  }

  const std::string& text(char byte) const { return texts_[static_cast<unsigned char>(byte)]; }

  std::string spelled(std::string_view bytes) const {
    std::string out;
    for (const char byte : bytes) out += text(byte);
    return out;
  }

  // The bytes that a token stands for; characters out of the alphabet stand for themselves.
  std::string bytes(std::string_view token) const {
    std::string out;
    for (std::size_t i = 0; i < token.size();) {
      const std::size_t length = (static_cast<unsigned char>(token[i]) & 0xE0U) == 0xC0 ? 2 : 1;
      const std::string character(token.substr(i, length));
      const auto found = bytes_.find(character);
      out += found == bytes_.end() ? character : std::string(1, found->second);
      i += length;
    }
    return out;
  }

 private:
  std::array<std::string, 256> texts_;
  std::unordered_map<std::string, char> bytes_;
};

const ByteAlphabet& alphabet() {
  static const ByteAlphabet instance;
  return instance;
}

struct Merge {
  std::int32_t rank, token;
};

// Pairs that may be merged, the lowest rank first, then the leftmost.
struct Candidate {
  std::int32_t rank, at, token;
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : at > other.at;  // of std::priority_queue
  }
};

class BytePairTokenizer final : public Tokenizer {
 public:
  explicit BytePairTokenizer(BytePairModel model) : model_(std::move(model)), splitter_(model_.patterns) {
    read_tokens();
    read_merges();
    for (const char* name : {"bos", "eos", "unknown"}) {
      const std::int32_t id = *name == 'b' ? model_.bos : *name == 'e' ? model_.eos : model_.unknown;
      check(id < vocab_size(), "{}: the {} token {} is outside the vocabulary of {}", model_.path, name, id,
            vocab_size());
    }
    choose_padding();
  }

  std::vector<std::int32_t> encode(std::string_view text, TextPlace) const override {
    check(is_utf8(text), "text is not UTF-8 and cannot be tokenized: '{}'", valid_utf8(text));
    std::vector<std::int32_t> ids;
    while (!text.empty()) {
      const auto [at, token] = find_added(text);
      encode_plain(text.substr(0, at), ids);
      if (token == nullptr) break;
      ids.push_back(token->id);
      text.remove_prefix(at + token->text.size());
    }
    return ids;
  }

  std::string decode(std::span<const std::int32_t> ids, TextPlace) const override {
    std::string text;
    for (const std::int32_t id : ids) text += texts_[checked(id)];
    return valid_utf8(text);
  }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(model_.tokens.size()); }
  std::int32_t bos() const override { return model_.bos; }
  std::int32_t eos() const override { return model_.eos; }
  std::int32_t pad() const override { return model_.pad; }
  std::string piece(std::int32_t id) const override { return model_.tokens[checked(id)]; }
  std::int32_t find_piece(std::string_view piece) const override {
    const auto found = ids_.find(std::string(piece));
    return found == ids_.end() ? -1 : found->second;
  }

 private:
  std::size_t checked(std::int32_t id) const {
    check(0 <= id && id < vocab_size(), "token {} is outside the vocabulary of {}", id, vocab_size());
    return static_cast<std::size_t>(id);
  }

  void read_tokens() {
    constexpr std::int32_t most = 1 << 24;
    for (const AddedToken& added : model_.added) {
      check(added.id >= 0 && added.id < most && !added.text.empty(),
            "{}: the added token '{}' has the impossible id {}", model_.path, added.text, added.id);
      if (added.id >= vocab_size()) model_.tokens.resize(static_cast<std::size_t>(added.id) + 1);
      model_.tokens[static_cast<std::size_t>(added.id)] = added.text;
    }
    texts_.reserve(model_.tokens.size());
    for (std::int32_t id = 0; id < vocab_size(); ++id) {
      const std::string& token = model_.tokens[static_cast<std::size_t>(id)];
      texts_.push_back(alphabet().bytes(token));
      if (token.empty()) continue;
      check(ids_.emplace(token, id).second, "{}: the token '{}' is there twice", model_.path, token);
    }
    for (const AddedToken& added : model_.added) {
      texts_[static_cast<std::size_t>(added.id)] = added.special ? "" : added.text;
    }
    for (int byte = 0; byte < 256; ++byte) {
      const std::int32_t id = find_piece(alphabet().text(static_cast<char>(byte)));
      byte_ids_[static_cast<std::size_t>(byte)] = id >= 0 ? id : model_.unknown;
    }
  }

  void read_merges() {
    std::int32_t rank = 0;
    for (const auto& [left, right] : model_.merges) {
      const std::int32_t a = find_piece(left), b = find_piece(right), both = find_piece(left + right);
      check(a >= 0 && b >= 0 && both >= 0, "{}: merge {} of '{}' and '{}' is of tokens that the vocabulary has not",
            model_.path, rank, left, right);
      merges_.emplace(key(a, b), Merge{rank++, both});
    }
    model_.merges.clear();
  }

  // What is never trained on and never attended to, but must not be the end mark.
  void choose_padding() {
    std::vector<std::int32_t> choices = {model_.pad, model_.unknown};
    for (const AddedToken& added : model_.added) {
      if (added.special && added.id != model_.bos) choices.push_back(added.id);
    }
    choices.insert(choices.end(), {model_.bos, 0, 1});
    const auto found = std::ranges::find_if(
        choices, [&](std::int32_t id) { return 0 <= id && id < vocab_size() && id != model_.eos; });
    check(found != choices.end(), "{} has no token for padding but its end mark", model_.path);
    model_.pad = *found;
  }

  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }

  // The first added token that text may become, the longest of those at its place.
  std::pair<std::size_t, const AddedToken*> find_added(std::string_view text) const {
    std::pair<std::size_t, const AddedToken*> best{text.size(), nullptr};
    for (const AddedToken& added : model_.added) {
      if (added.special) continue;
      const std::size_t at = text.find(added.text);
      const bool longer = best.second != nullptr && at == best.first && added.text.size() > best.second->text.size();
      if (at < best.first || longer) best = {at, &added};
    }
    return best;
  }

  void encode_plain(std::string_view text, std::vector<std::int32_t>& ids) const {
    const std::string normal = model_.compose ? composed(text) : std::string();
    for (const std::string_view piece : splitter_.split(model_.compose ? std::string_view(normal) : text)) {
      if (model_.whole_pieces) {
        const std::int32_t whole = find_piece(alphabet().spelled(piece));
        if (whole >= 0) {
          ids.push_back(whole);
          continue;
        }
      }
      merge(piece, ids);
    }
  }

  struct Symbol {
    std::int32_t token, before, after;  // neighbours; -1: none
    bool live = true;
  };

  // O(n log n) in the bytes of the piece, which may be a whole line without spaces.
  void merge(std::string_view piece, std::vector<std::int32_t>& ids) const {
    std::vector<Symbol> symbols;
    for (const char byte : piece) {
      const std::int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
      const auto n = static_cast<std::int32_t>(symbols.size());
      if (id >= 0) symbols.push_back({id, n - 1, n + 1});
    }
    if (symbols.empty()) return;
    symbols.back().after = -1;
    std::priority_queue<Candidate> queue;
    const auto offer = [&](std::int32_t at) {
      if (at < 0 || symbols[static_cast<std::size_t>(at)].after < 0) return;
      const Symbol& left = symbols[static_cast<std::size_t>(at)];
      const auto found = merges_.find(key(left.token, symbols[static_cast<std::size_t>(left.after)].token));
      if (found != merges_.end()) queue.push({found->second.rank, at, found->second.token});
    };
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) offer(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<std::size_t>(best.at)];
      if (!left.live || left.after < 0) continue;
      Symbol& right = symbols[static_cast<std::size_t>(left.after)];
      const auto found = merges_.find(key(left.token, right.token));  // the pair may have changed since
      if (found == merges_.end() || found->second.token != best.token) continue;
      left.token = best.token;
      right.live = false;
      left.after = right.after;
      if (left.after >= 0) symbols[static_cast<std::size_t>(left.after)].before = best.at;
      offer(left.before);
      offer(best.at);
    }
    for (std::int32_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].after) {
      ids.push_back(symbols[static_cast<std::size_t>(i)].token);
    }
  }

  BytePairModel model_;
  TextSplitter splitter_;
  std::vector<std::string> texts_;  // of each id
  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::array<std::int32_t, 256> byte_ids_{};
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_pair_tokenizer(BytePairModel model) {
  check(!model.tokens.empty(), "{} has no tokens", model.path);
  return std::make_unique<BytePairTokenizer>(std::move(model));
}

}  // namespace skymm
