// The manifest of a data set in several files ("shards"): a JSON file beside them that says what each holds, so that a
// large set opens without reading any of them. Layout: docs/formats.md.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace skymm {

struct ShardEntry {
  std::string file;        // beside the manifest
  std::int64_t bytes = 0;  // size of the file
  std::int64_t samples = 0, images = 0;
  std::array<std::int64_t, 3> languages = {};  // samples of each Language
  std::uint32_t header_crc32c = 0;             // of the shard's header, which holds its index's checksum
};

struct Manifest {
  std::vector<ShardEntry> shards;
  std::string provenance = "{}";  // JSON: where the whole set came from
};

constexpr const char* manifest_name = "dataset.json";  // in a folder that is a data set

bool is_manifest_path(const std::string& path);  // ends in .json

// Throws Error where it is no manifest, is of a newer version, or says what cannot be.
Manifest read_manifest(const std::string& path);
void write_manifest(const std::string& path, const Manifest& manifest);

// Throws Error naming the first shard that is absent or has another size than the manifest says.
void check_shard_sizes(const std::string& manifest_path, const Manifest& manifest);

// The path of a shard: its file in the manifest's folder.
std::string shard_path(const std::string& manifest_path, const ShardEntry& shard);

}  // namespace skymm
