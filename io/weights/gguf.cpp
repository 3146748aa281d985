#include "io/weights/gguf.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>

#include "core/error.hpp"
#include "io/weights/gguf_blocks.hpp"

namespace skymm {
namespace {

struct Rename {
  std::string_view gguf, hugging_face;
};
constexpr std::array<Rename, 3> outer_names = {
    {{"token_embd.", "model.embed_tokens."}, {"output_norm.", "model.norm."}, {"output.", "lm_head."}}};
constexpr std::array<Rename, 9> layer_names = {{{"attn_norm.", "input_layernorm."},
                                                {"attn_q.", "self_attn.q_proj."},
                                                {"attn_k.", "self_attn.k_proj."},
                                                {"attn_v.", "self_attn.v_proj."},
                                                {"attn_output.", "self_attn.o_proj."},
                                                {"ffn_norm.", "post_attention_layernorm."},
                                                {"ffn_gate.", "mlp.gate_proj."},
                                                {"ffn_up.", "mlp.up_proj."},
                                                {"ffn_down.", "mlp.down_proj."}}};

template <class Table>
std::string renamed(std::string_view name, const Table& table) {
  for (const Rename& rename : table) {
    if (name.starts_with(rename.gguf)) {
      return std::string(rename.hugging_face) + std::string(name.substr(rename.gguf.size()));
    }
  }
  return "";
}

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; what has no such name keeps its own.
std::string hugging_face_name(const std::string& name) {
  if (!name.starts_with("blk.")) {
    const std::string outer = renamed(name, outer_names);
    return outer.empty() ? name : outer;
  }
  const std::size_t dot = name.find('.', 4);
  const std::string inner =
      dot == std::string::npos ? "" : renamed(std::string_view(name).substr(dot + 1), layer_names);
  return inner.empty() ? name : fmt::format("model.layers.{}.{}", name.substr(4, dot - 4), inner);
}

std::string text_of(const GgufValue& value) {
  const auto text = [](const auto& x) -> std::string {
    using T = std::decay_t<decltype(x)>;
    if constexpr (std::is_same_v<T, std::string>) {
      return x;
    } else if constexpr (std::is_arithmetic_v<T>) {
      return fmt::format("{}", x);
    } else {
      return fmt::format("{} values", x.size());
    }
  };
  return std::visit(text, value);
}

// Where row `i` of a matrix of `heads` lies: row (half, pair) of a head is stored as (pair, half).
std::int64_t interleaved_row(std::int64_t i, std::int64_t rows, std::int64_t heads) {
  const std::int64_t width = rows / heads, head = i / width, within = i % width;
  return head * width + 2 * (within % (width / 2)) + within / (width / 2);
}

std::optional<DType> plain_dtype(std::string_view type) {
  if (type == "F32") return DType::f32;
  if (type == "F16") return DType::f16;
  if (type == "BF16") return DType::bf16;
  if (type == "F64") return DType::f64;
  if (type == "I8") return DType::i8;
  if (type == "I32") return DType::i32;
  if (type == "I64") return DType::i64;
  return std::nullopt;
}

}  // namespace

bool is_gguf(const std::string& path) {
  std::string start(4, '\0');
  std::ifstream(path, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size()));
  return start == "GGUF";
}

GgufFile::GgufFile(const std::string& path) : WeightSource(path), file_(path) {
  GgufHeader header = parse_gguf(file_.bytes(), path);
  values_ = std::move(header.values);
  const bool known = architecture() == "llama" || architecture() == "qwen2";
  std::vector<WeightEntry> entries;
  for (const GgufTensor& tensor : header.tensors) {
    WeightEntry entry{.name = known ? hugging_face_name(tensor.name) : tensor.name,
                      .dtype = std::string(tensor.type->name),
                      .begin = tensor.begin,
                      .end = tensor.end};
    entry.shape.assign(tensor.dims.rbegin(), tensor.dims.rend());
    const Stored stored{tensor.type, interleaved_heads(entry)};
    check(stored_.emplace(entry.name, stored).second, "{}: two tensors mean '{}', one of them '{}'", path, entry.name,
          tensor.name);
    entries.push_back(std::move(entry));
  }
  set_entries(std::move(entries));
  for (const auto& [key, value] : values_) metadata_[key] = text_of(value);
}

std::int64_t GgufFile::interleaved_heads(const WeightEntry& entry) const {
  const bool query = entry.name.find(".self_attn.q_proj.") != std::string::npos;
  const bool key = entry.name.find(".self_attn.k_proj.") != std::string::npos;
  if (architecture() != "llama" || (!query && !key)) return 0;
  const std::int64_t queries = integer("llama.attention.head_count");
  const std::int64_t heads = key ? integer("llama.attention.head_count_kv", queries) : queries;
  check(heads > 0 && entry.rows() % heads == 0 && entry.rows() / heads % 2 == 0,
        "{}: tensor '{}' {} does not divide into {} heads with rotary pairs", path(), entry.name, entry.shape_text(),
        heads);
  return heads;
}

std::string_view GgufFile::stored(const WeightEntry& entry) const {
  return file_.bytes().substr(entry.begin, entry.end - entry.begin);
}

DType GgufFile::values_dtype(const WeightEntry& entry) const {
  if (const auto dtype = plain_dtype(entry.dtype)) return *dtype;
  check(find_dequantize(entry.dtype) != nullptr,
        "{}: tensor '{}' is of {}, which cannot be read; convert the file to Q8_0, Q4_K or F16", path(), entry.name,
        entry.dtype);
  return DType::f32;
}

const void* GgufFile::rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                           std::vector<char>& scratch) const {
  const Stored& stored = stored_.at(entry.name);
  const auto* from = reinterpret_cast<const std::uint8_t*>(file_.data()) + entry.begin;
  const auto block = static_cast<std::int64_t>(stored.type->block),
             bytes = static_cast<std::int64_t>(stored.type->bytes);
  const Dequantize dequantize = find_dequantize(entry.dtype);
  // The blocks of a vector span its rows, which are its elements; it is small, and read whole.
  const bool vector = entry.shape.size() < 2 && dequantize != nullptr;
  check(!vector || stored.heads == 0, "{}: the vector '{}' is quantised and has heads, which no known file has", path(),
        entry.name);
  const std::int64_t first = vector ? 0 : begin, count = vector ? 1 : end - begin;
  const std::int64_t blocks = (vector ? entry.rows() : entry.row_elements()) / block;
  if (dequantize == nullptr && stored.heads == 0) return from + first * blocks * bytes;
  const std::int64_t row_bytes =
      dequantize ? blocks * block * static_cast<std::int64_t>(sizeof(float)) : blocks * bytes;
  scratch.resize(static_cast<std::size_t>(count * row_bytes));
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = stored.heads > 0 ? interleaved_row(first + i, entry.rows(), stored.heads) : first + i;
    char* to = scratch.data() + i * row_bytes;
    if (dequantize) {
      dequantize(from + row * blocks * bytes, blocks, reinterpret_cast<float*>(to));
    } else {
      std::memcpy(to, from + row * blocks * bytes, static_cast<std::size_t>(row_bytes));
    }
  }
  return scratch.data() + (vector ? begin * static_cast<std::int64_t>(sizeof(float)) : 0);
}

template <class T>
const T* GgufFile::find(const std::string& key, std::string_view kind) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  const T* value = std::get_if<T>(&found->second);
  check(value != nullptr, "{}: '{}' is not {}", path(), key, kind);
  return value;
}

std::int64_t GgufFile::integer(const std::string& key, std::optional<std::int64_t> otherwise) const {
  const auto found = values_.find(key);
  if (found == values_.end() && otherwise) return *otherwise;
  check(found != values_.end(), "{} does not say '{}'", path(), key);
  if (const auto* value = std::get_if<std::uint64_t>(&found->second)) {
    check(*value <= std::uint64_t{1} << 62, "{}: '{}' is {}, which is too large", path(), key, *value);
    return static_cast<std::int64_t>(*value);
  }
  return *find<std::int64_t>(key, "a whole number");
}

double GgufFile::number(const std::string& key, std::optional<double> otherwise) const {
  if (const auto* value = find<double>(key, "a number")) return *value;
  check(otherwise.has_value(), "{} does not say '{}'", path(), key);
  return *otherwise;
}

std::string GgufFile::text(const std::string& key, std::optional<std::string> otherwise) const {
  if (const auto* value = find<std::string>(key, "a string")) return *value;
  check(otherwise.has_value(), "{} does not say '{}'", path(), key);
  return *otherwise;
}

bool GgufFile::flag(const std::string& key, bool otherwise) const {
  const bool* value = find<bool>(key, "true or false");
  return value ? *value : otherwise;
}

const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  const auto* value = find<std::vector<std::string>>(key, "a list of strings");
  check(value != nullptr, "{} does not say '{}'", path(), key);
  return *value;
}

const std::vector<double>& GgufFile::numbers(const std::string& key) const {
  const auto* value = find<std::vector<double>>(key, "a list of numbers");
  check(value != nullptr, "{} does not say '{}'", path(), key);
  return *value;
}

void GgufFile::release(const WeightEntry&, std::uint64_t begin, std::uint64_t end) const { file_.release(begin, end); }

}  // namespace skymm
