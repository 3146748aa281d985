#include "io/manifest.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/file.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* format_name = "skymm sharded samples";
constexpr int format_version = 1;

ShardEntry decode_shard(const json& entry) {
  ShardEntry shard;
  shard.file = entry.at("file");
  shard.bytes = entry.at("bytes");
  shard.samples = entry.at("samples");
  shard.images = entry.at("images");
  shard.languages = entry.at("languages").get<std::array<std::int64_t, 3>>();
  shard.header_crc32c = entry.at("header_crc32c");
  // A shard lies in the manifest's own folder: the set can be moved, and no manifest reads files elsewhere.
  check(!shard.file.empty() && shard.file != "." && shard.file != ".." && shard.file.find('/') == std::string::npos,
        "'{}' is no name of a file beside the manifest", shard.file);
  check(shard.bytes > 0 && shard.samples >= 0 && shard.images >= 0, "{}: a size is negative", shard.file);
  const auto [none, english, chinese] = shard.languages;
  check(none >= 0 && english >= 0 && chinese >= 0 && none + english + chinese == shard.samples,
        "{}: its languages do not add up to its {} samples", shard.file, shard.samples);
  return shard;
}

}  // namespace

bool is_manifest_path(const std::string& path) { return path.ends_with(".json"); }

std::string shard_path(const std::string& manifest_path, const ShardEntry& shard) {
  return (fs::path(manifest_path).parent_path() / shard.file).string();
}

Manifest read_manifest(const std::string& path) {
  const std::string text = read_file(path);
  try {
    const json root = json::parse(text);
    check(root.is_object() && root.value("format", "") == format_name,
          "the file is JSON, but no manifest of a data set; give the {} that `skymm data import` made", manifest_name);
    check(root.at("version") == format_version, "it has format version {}, this skymm reads {}",
          root.at("version").dump(), format_version);
    Manifest manifest;
    manifest.provenance = root.at("provenance").dump();
    std::int64_t samples = 0, images = 0;
    for (const json& entry : root.at("shards")) {
      manifest.shards.push_back(decode_shard(entry));
      samples += manifest.shards.back().samples, images += manifest.shards.back().images;
    }
    check(root.at("samples") == samples && root.at("images") == images,
          "the manifest says {} samples and {} pictures, its shards have {} and {}; copy or make it again",
          root.at("samples").dump(), root.at("images").dump(), samples, images);
    return manifest;
  } catch (const json::exception& error) {
    fail("data set {}: the manifest is damaged ({}); copy or make it again", path, error.what());
  } catch (const Error& error) {
    fail("data set {}: {}", path, error.message());
  }
}

void write_manifest(const std::string& path, const Manifest& manifest) {
  std::int64_t samples = 0, images = 0;
  json shards = json::array();
  for (const ShardEntry& shard : manifest.shards) {
    samples += shard.samples, images += shard.images;
    shards.push_back({{"file", shard.file},
                      {"bytes", shard.bytes},
                      {"samples", shard.samples},
                      {"images", shard.images},
                      {"languages", shard.languages},
                      {"header_crc32c", shard.header_crc32c}});
  }
  const json root = {{"format", format_name},
                     {"version", format_version},
                     {"samples", samples},
                     {"images", images},
                     {"provenance", json::parse(manifest.provenance)},
                     {"shards", std::move(shards)}};
  write_file(path, root.dump(1) + "\n");
}

void check_shard_sizes(const std::string& manifest_path, const Manifest& manifest) {
  for (const ShardEntry& shard : manifest.shards) {
    std::error_code error;
    const std::uintmax_t bytes = fs::file_size(shard_path(manifest_path, shard), error);
    check(!error, "data set {}: shard {} cannot be read: {}; copy it again", manifest_path, shard.file,
          error.message());
    check(bytes == static_cast<std::uintmax_t>(shard.bytes),
          "data set {}: shard {} has {} bytes, its manifest says {}: it is truncated or another file; copy or make it "
          "again",
          manifest_path, shard.file, bytes, shard.bytes);
  }
}

}  // namespace skymm
