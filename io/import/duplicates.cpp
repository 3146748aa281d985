#include "io/import/duplicates.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "io/dataset_shard.hpp"

namespace skymm {
namespace {

constexpr std::uint64_t references_a_pass = std::uint64_t{4} << 20;  // of 16 bytes

struct Reference {             // of a sample to a picture
  std::uint64_t hash, sample;  // the sample's number in the whole set
  auto operator<=>(const Reference&) const = default;
};

// A shard's pictures as its samples name them.
struct ShardReferences {
  std::vector<std::uint64_t> offsets, numbers, hashes;
};

ShardReferences read_references(const std::string& path) {
  const ShardFile file(path);
  const DatasetShard shard(path, file.fd());
  check(shard.has_picture_hashes(), "data set {} was written before pictures had hashes; import it again", path);
  return {shard.image_offsets(file.fd()), shard.all_image_numbers(file.fd()), shard.picture_hashes(file.fd())};
}

// Calls visit(hash, sample) for each picture of each sample of all shards.
template <class Visit>
void visit_references(const std::vector<std::string>& shards, Visit&& visit) {
  std::uint64_t first = 0;
  for (const std::string& path : shards) {
    const ShardReferences shard = read_references(path);
    const std::size_t samples = shard.offsets.size() - 1;
    for (std::size_t i = 0; i < samples; ++i) {
      for (std::uint64_t k = shard.offsets[i]; k < shard.offsets[i + 1]; ++k) {
        visit(shard.hashes.at(shard.numbers.at(k)), first + i);
      }
    }
    first += samples;
  }
}

// The samples that a picture belongs to after its first, once a picture; unsorted.
std::vector<std::uint64_t> later_uses(const std::vector<std::string>& shards) {
  std::uint64_t references = 0;
  visit_references(shards, [&](std::uint64_t, std::uint64_t) { ++references; });
  const std::uint64_t passes = references / references_a_pass + 1;
  std::vector<std::uint64_t> later;
  std::vector<Reference> part;
  for (std::uint64_t pass = 0; pass < passes; ++pass) {
    part.clear();
    visit_references(shards, [&](std::uint64_t hash, std::uint64_t sample) {
      if (hash % passes == pass) part.push_back({hash, sample});
    });
    std::ranges::sort(part);
    std::uint64_t first = 0;  // sample of the picture at hand
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (i == 0 || part[i].hash != part[i - 1].hash) first = part[i].sample;
      if (part[i].sample != first) later.push_back(part[i].sample);
    }
  }
  return later;
}

}  // namespace

std::vector<std::vector<std::int64_t>> find_duplicates(const std::vector<std::string>& shards) {
  std::vector<std::uint64_t> later = later_uses(shards);
  std::ranges::sort(later);
  std::vector<std::vector<std::int64_t>> duplicates(shards.size());
  std::uint64_t first = 0;
  auto next = later.begin();
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::vector<std::uint64_t> offsets = read_references(shards[s]).offsets;
    const std::uint64_t end = first + offsets.size() - 1;
    while (next != later.end() && *next < end) {
      const auto stop = std::upper_bound(next, later.end(), *next);
      const std::size_t i = *next - first;
      if (static_cast<std::uint64_t>(stop - next) == offsets[i + 1] - offsets[i]) {
        duplicates[s].push_back(static_cast<std::int64_t>(i));
      }
      next = stop;
    }
    first = end;
  }
  return duplicates;
}

}  // namespace skymm
