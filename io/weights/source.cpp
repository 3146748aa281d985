#include "io/weights/source.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/weights/gguf.hpp"
#include "io/weights/safetensors.hpp"
#include "io/weights/sharded.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t chunk_elements = 1 << 20;  // copied at a time: few, as they are in memory twice

std::int64_t rows_at_once(const WeightEntry& entry) {
  return std::max<std::int64_t>(1, chunk_elements / std::max<std::int64_t>(entry.row_elements(), 1));
}

Shape shape_of(const WeightEntry& entry, std::int64_t rows) {
  Shape shape;
  for (const std::int64_t dim : entry.shape) shape.push_back(dim);
  if (shape.rank() > 0) shape[0] = rows;
  return shape;
}

std::vector<std::string> files_ending(const std::string& folder, const std::string& extension) {
  std::vector<std::string> found;
  for (const fs::directory_entry& file : fs::directory_iterator(folder)) {
    if (file.path().extension() == extension) found.push_back(file.path().string());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

std::int64_t WeightEntry::row_elements() const {
  std::int64_t product = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) product *= shape[i];
  return product;
}

std::string WeightEntry::shape_text() const { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void WeightSource::set_entries(std::vector<WeightEntry> entries) {
  entries_ = std::move(entries);
  for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const WeightEntry& WeightSource::entry(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "{} has no tensor '{}' among its {} ('{}', ...)", path_, name, entries_.size(),
        entries_.empty() ? "" : entries_.front().name);
  return entries_[found->second];
}

// to: contiguous, of the values' dtype. Pages of the file that were read go at once: with the copy they would be in
// memory twice.
void WeightSource::copy_rows(const WeightEntry& from, std::int64_t begin, std::int64_t end, const Tensor& to) const {
  std::vector<char> scratch;
  if (to.numel() == 0) return;
  to.device().from_host(rows(from, begin, end, scratch), to);
  const std::uint64_t row = (from.end - from.begin) / static_cast<std::uint64_t>(from.rows());
  bytes_read_ += static_cast<std::uint64_t>(end - begin) * row;
  if (end == from.rows()) return release(from, from.begin, from.end);  // whatever the order of rows in the file
  release(from, from.begin + static_cast<std::uint64_t>(begin) * row,
          from.begin + static_cast<std::uint64_t>(end) * row);
}

Tensor WeightSource::read_range(const WeightEntry& from, std::int64_t begin, std::int64_t end, Device& device) const {
  check(from.shape.size() <= Shape::max_rank, "{}: tensor '{}' has {} dimensions, at most {} are possible", path_,
        from.name, from.shape.size(), Shape::max_rank);
  check(0 <= begin && begin <= end && end <= from.rows(), "{}: tensor '{}' {} has no rows [{}, {})", path_, from.name,
        from.shape_text(), begin, end);
  Tensor x = Tensor::empty(shape_of(from, end - begin), values_dtype(from), device);
  if (x.rank() == 0) copy_rows(from, begin, end, x);
  const std::int64_t step = rows_at_once(from);
  for (std::int64_t row = begin; x.rank() > 0 && row < end; row += step) {
    const std::int64_t last = std::min(row + step, end);
    copy_rows(from, row, last, x.slice(0, row - begin, last - begin));
  }
  return x;
}

Tensor WeightSource::read(const std::string& name, Device& device) const {
  const WeightEntry& from = entry(name);
  return read_range(from, 0, from.rows(), device);
}

Tensor WeightSource::read_rows(const std::string& name, std::int64_t begin, std::int64_t end, Device& device) const {
  return read_range(entry(name), begin, end, device);
}

void WeightSource::read_into(const std::string& name, std::int64_t begin, std::int64_t end, const Tensor& to) const {
  const WeightEntry& from = entry(name);
  const std::int64_t width = from.row_elements();
  check(begin <= end && to.numel() == (end - begin) * width,
        "{}: rows [{}, {}) of tensor '{}' {} do not fill a tensor of shape {}", path_, begin, end, name,
        from.shape_text(), to.shape());
  if (to.rank() == 0 || to.dim(0) != end - begin)
    return to.copy_from(read_range(from, begin, end, cpu()).view(to.shape()));
  const std::int64_t step = rows_at_once(from);
  for (std::int64_t row = begin; row < end; row += step) {
    const std::int64_t last = std::min(row + step, end);
    const Tensor part = to.slice(0, row - begin, last - begin);
    if (part.dtype() == values_dtype(from) && part.is_contiguous()) {
      copy_rows(from, row, last, part);
      continue;
    }
    part.copy_from(read_range(from, row, last, cpu()).view(part.shape()));
  }
}

void WeightSource::read_into(const std::string& name, const Tensor& to) const {
  read_into(name, 0, entry(name).rows(), to);
}

std::string weights_file(const std::string& path) {
  if (!fs::is_directory(path)) return path;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"}) {
    if (fs::exists(fs::path(path) / name)) return (fs::path(path) / name).string();
  }
  for (const char* extension : {".safetensors", ".gguf"}) {
    const std::vector<std::string> found = files_ending(path, extension);
    check(found.size() <= 1, "{} has {} {} files and no model.safetensors.index.json: name the one to read", path,
          found.size(), extension);
    if (found.size() == 1) return found.front();
  }
  const bool pickled = !files_ending(path, ".bin").empty() || !files_ending(path, ".pt").empty();
  fail("{} has neither model.safetensors, model.safetensors.index.json nor a .gguf file{}", path,
       pickled ? "; save its PyTorch weights again with safe_serialization=True" : "");
}

std::unique_ptr<WeightSource> open_weights(const std::string& path) {
  const std::string file = weights_file(path);
  std::string start(8, '\0');
  std::ifstream in(file, std::ios::binary);
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  if (start.starts_with("GGUF")) return std::make_unique<GgufFile>(file);
  // JSON has no zero bytes; a safetensors file begins with a small number of eight bytes.
  if (start.starts_with('{') && start.find('\0') == std::string::npos) return std::make_unique<ShardedWeights>(file);
  return std::make_unique<SafetensorsReader>(file);
}

}  // namespace skymm
