// GGUF files as weights by Hugging Face's names. Quantised tensors come out as f32; the rows of q_proj and k_proj,
// which the llama architecture stores with rotary pairs interleaved, come out in Hugging Face's order (first halves of
// the pairs, then second halves).
#pragma once

#include <optional>

#include "io/mapped_file.hpp"
#include "io/weights/gguf_format.hpp"
#include "io/weights/source.hpp"

namespace skymm {

bool is_gguf(const std::string& path);  // by the file's first bytes

class GgufFile final : public WeightSource {
 public:
  explicit GgufFile(const std::string& path);

  std::string_view stored(const WeightEntry& entry) const override;

  const GgufValues& values() const { return values_; }
  std::string architecture() const { return text("general.architecture", ""); }
  bool has(const std::string& key) const { return values_.contains(key); }
  // The value of a key; throws Error that names it where it is absent or of another kind. With `otherwise`: that where
  // it is absent.
  std::int64_t integer(const std::string& key, std::optional<std::int64_t> otherwise = {}) const;
  double number(const std::string& key, std::optional<double> otherwise = {}) const;
  std::string text(const std::string& key, std::optional<std::string> otherwise = {}) const;
  bool flag(const std::string& key, bool otherwise) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<double>& numbers(const std::string& key) const;

 private:
  struct Stored {
    const GgufType* type = nullptr;
    std::int64_t heads = 0;  // whose rows are interleaved; 0: none
  };

  template <class T>
  const T* find(const std::string& key, std::string_view kind) const;
  std::int64_t interleaved_heads(const WeightEntry& entry) const;
  DType values_dtype(const WeightEntry& entry) const override;
  const void* rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                   std::vector<char>& scratch) const override;
  void release(const WeightEntry& entry, std::uint64_t begin, std::uint64_t end) const override;

  MappedFile file_;
  GgufValues values_;
  std::unordered_map<std::string, Stored> stored_;
};

}  // namespace skymm
