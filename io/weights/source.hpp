// Weights by name, wherever they lie: one safetensors file, several with an index, or a GGUF file. Opening reads and
// checks what the file says of itself; tensors are read when asked for, whole or a range of rows, so that a rank
// touches only what it holds.
//
//   const std::unique_ptr<WeightSource> source = open_weights("Skywork-13B-base");
//   for (const WeightEntry& entry : source->entries()) ...
//   source->read_into("lm_head.weight", 0, 1024, to);
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor.hpp"

namespace skymm {

struct WeightEntry {
  std::string name;
  std::string dtype;  // the file's word: "F32", "BF16", "Q4_K"
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes in the file
  std::size_t file = 0;              // index into WeightSource::files()

  // A row is what one index of the first dimension holds; a number is one row of one element.
  std::int64_t rows() const { return shape.empty() ? 1 : shape.front(); }
  std::int64_t row_elements() const;
  std::string shape_text() const;  // "[2, 3]"
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  const std::string& path() const { return path_; }
  virtual std::vector<std::string> files() const { return {path_}; }
  const std::vector<WeightEntry>& entries() const { return entries_; }  // in the order of their bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return index_.contains(name); }
  const WeightEntry& entry(const std::string& name) const;  // throws Error where there is none

  // Copies, in the file's dtype; quantised weights as f32. Throws Error where the tensor is absent, has a dtype that
  // Tensor has not, more than six dimensions, or no such rows.
  Tensor read(const std::string& name, Device& device = cpu()) const;
  Tensor read_rows(const std::string& name, std::int64_t begin, std::int64_t end, Device& device = cpu()) const;
  // The same rows into `to`, converted to its dtype a few megabytes at a time. Their elements must be as many.
  void read_into(const std::string& name, std::int64_t begin, std::int64_t end, const Tensor& to) const;
  void read_into(const std::string& name, const Tensor& to) const;

  // Of tensors, read so far. What was read is not kept in memory beside its copy.
  std::uint64_t bytes_read() const { return bytes_read_; }

  // The tensor's bytes as they lie in the file.
  virtual std::string_view stored(const WeightEntry& entry) const = 0;

 protected:
  explicit WeightSource(std::string path) : path_(std::move(path)) {}
  WeightSource(WeightSource&&) = default;
  WeightSource& operator=(WeightSource&&) = default;

  // Of the values that rows() gives; throws Error for elements that cannot be computed with.
  virtual DType values_dtype(const WeightEntry& entry) const = 0;
  // The values of rows [begin, end), row-major: in the mapped file or made in `scratch`.
  virtual const void* rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                           std::vector<char>& scratch) const = 0;
  // The bytes [begin, end) of the entry's file were read.
  virtual void release(const WeightEntry& entry, std::uint64_t begin, std::uint64_t end) const = 0;

  void set_entries(std::vector<WeightEntry> entries);  // of distinct names

  std::map<std::string, std::string> metadata_;

 private:
  Tensor read_range(const WeightEntry& entry, std::int64_t begin, std::int64_t end, Device& device) const;
  void copy_rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end, const Tensor& to) const;

  std::string path_;
  std::vector<WeightEntry> entries_;
  std::unordered_map<std::string, std::size_t> index_;
  mutable std::uint64_t bytes_read_ = 0;
};

// By content: a safetensors file, a model.safetensors.index.json, a GGUF file, or a folder that holds one of them.
// Throws Error that says what was found instead.
std::unique_ptr<WeightSource> open_weights(const std::string& path);

// The file of weights in a folder as Hugging Face lays it out; a path that is no folder is returned as it is.
std::string weights_file(const std::string& path);

}  // namespace skymm
