// Small GGUF files for tests, written byte by byte.
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace skymm::testing {

class GgufWriter {
 public:
  explicit GgufWriter(std::uint32_t version = 3, std::uint64_t alignment = 32)
      : version_(version), alignment_(alignment) {}

  void add(const std::string& key, const std::string& value) { pair(key, 8, text(value)); }
  void add(const std::string& key, std::uint32_t value) { pair(key, 4, number(value)); }
  void add(const std::string& key, float value) { pair(key, 6, number(value)); }
  void add(const std::string& key, bool value) { pair(key, 7, std::string(1, value ? '\1' : '\0')); }
  void add(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = number(std::uint32_t{8}) + number(std::uint64_t{values.size()});
    for (const std::string& value : values) bytes += text(value);
    pair(key, 9, bytes);
  }
  template <class T>
  void add_numbers(const std::string& key, std::uint32_t kind, const std::vector<T>& values) {
    std::string bytes = number(kind) + number(std::uint64_t{values.size()});
    for (const T& value : values) bytes += number(value);
    pair(key, 9, bytes);
  }
  // dims: the contiguous one first.
  void tensor(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
              const std::string& bytes) {
    tensors_ += text(name) + number(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) tensors_ += number(dim);
    tensors_ += number(type) + number(std::uint64_t{data_.size()});
    data_ += bytes;
    pad(data_);
    ++tensor_count_;
  }
  void tensor(const std::string& name, const std::vector<std::uint64_t>& dims, const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensor(name, dims, 0, bytes);
  }

  std::string file() const {
    std::string bytes = "GGUF" + number(version_) + number(tensor_count_) + number(pair_count_) + pairs_ + tensors_;
    if (tensor_count_ > 0) pad(bytes);
    return bytes + data_;
  }

  template <class T>
  static std::string number(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(const std::string& value) { return number(std::uint64_t{value.size()}) + value; }

 private:
  void pair(const std::string& key, std::uint32_t kind, const std::string& bytes) {
    pairs_ += text(key) + number(kind) + bytes;
    ++pair_count_;
  }
  void pad(std::string& bytes) const { bytes.resize((bytes.size() + alignment_ - 1) / alignment_ * alignment_, '\0'); }

  std::uint32_t version_;
  std::uint64_t alignment_;
  std::uint64_t tensor_count_ = 0, pair_count_ = 0;
  std::string pairs_, tensors_, data_;
};

}  // namespace skymm::testing
