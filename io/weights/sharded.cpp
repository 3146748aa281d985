#include "io/weights/sharded.hpp"

#include <algorithm>
#include <filesystem>

#include "core/error.hpp"
#include "io/json.hpp"

namespace skymm {
namespace {

using nlohmann::json;

// File -> its tensors.
std::map<std::string, std::vector<std::string>> shards_of(const json& index, const std::string& path) {
  const auto map = index.find("weight_map");
  check(map != index.end() && map->is_object(), "{} has no object \"weight_map\"; it is no index of safetensors files",
        path);
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, file] : map->items()) {
    const bool plain =
        file.is_string() && !file.get_ref<const std::string&>().empty() &&
        file.get_ref<const std::string&>().find_first_of(std::string_view("/\0", 2)) == std::string::npos;
    check(plain, "{}: tensor '{}' lies in {}, which is not the name of a file beside the index", path, tensor,
          file.dump(-1, ' ', false, json::error_handler_t::replace));
    shards[file.get<std::string>()].push_back(tensor);
  }
  return shards;
}

}  // namespace

ShardedWeights::ShardedWeights(const std::string& index_path) : WeightSource(index_path) {
  const json index = read_json(index_path);
  const std::filesystem::path folder = std::filesystem::path(index_path).parent_path();
  std::vector<WeightEntry> entries;
  for (const auto& [file, tensors] : shards_of(index, index_path)) {
    shards_.emplace_back((folder / file).string());
    const std::size_t first = entries.size();
    for (const std::string& tensor : tensors) {
      check(shards_.back().contains(tensor), "{} says that {} holds '{}', but it does not; fetch the file again",
            index_path, file, tensor);
      entries.push_back(shards_.back().entry(tensor));
      entries.back().file = shards_.size() - 1;
    }
    std::ranges::sort(entries.begin() + static_cast<std::ptrdiff_t>(first), entries.end(), {}, &WeightEntry::begin);
    metadata_.insert(shards_.back().metadata().begin(), shards_.back().metadata().end());
  }
  set_entries(std::move(entries));
}

std::vector<std::string> ShardedWeights::files() const {
  std::vector<std::string> paths;
  for (const SafetensorsReader& shard : shards_) paths.push_back(shard.path());
  return paths;
}

std::string_view ShardedWeights::stored(const WeightEntry& entry) const { return shards_[entry.file].stored(entry); }

DType ShardedWeights::values_dtype(const WeightEntry& entry) const { return shards_[entry.file].values_dtype(entry); }

const void* ShardedWeights::rows(const WeightEntry& entry, std::int64_t begin, std::int64_t end,
                                 std::vector<char>& scratch) const {
  return shards_[entry.file].rows(entry, begin, end, scratch);
}

void ShardedWeights::release(const WeightEntry& entry, std::uint64_t begin, std::uint64_t end) const {
  shards_[entry.file].release(entry, begin, end);
}

}  // namespace skymm
