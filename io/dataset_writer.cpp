#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/dataset.hpp"
#include "io/manifest.hpp"
#include "io/shard_writer.hpp"

namespace skymm {

namespace fs = std::filesystem;

struct DatasetWriter::Impl {
  std::string path, provenance;
  std::int64_t shard_bytes = 0, samples = 0;
  Manifest manifest;
  std::unique_ptr<ShardWriter> shard;  // null once closed

  bool sharded() const { return is_manifest_path(path); }

  std::string next_shard() const {
    if (!sharded()) return path;
    const std::string name = fmt::format("{}-{:05}.h5", fs::path(path).stem().string(), manifest.shards.size());
    return (fs::path(path).parent_path() / name).string();
  }

  void finish_shard() {
    manifest.shards.push_back(shard->close(provenance));
    shard.reset();
  }

  void discard() {
    shard.reset();
    if (!sharded()) return;
    for (const ShardEntry& entry : manifest.shards) {
      std::error_code ignored;
      fs::remove(shard_path(path, entry), ignored);
    }
  }
};

DatasetWriter::DatasetWriter(std::string path, std::string provenance_json, std::int64_t shard_bytes)
    : impl_(std::make_unique<Impl>()) {
  check(nlohmann::json::accept(provenance_json), "writing data set {}: the provenance is not JSON", path);
  check(shard_bytes > 0, "writing data set {}: a shard of {} bytes cannot be", path, shard_bytes);
  check(!is_manifest_path(path) || !fs::exists(path),
        "data set {} exists; remove it and its shards, or choose another name", path);
  impl_->path = std::move(path);
  impl_->provenance = std::move(provenance_json);
  impl_->shard_bytes = shard_bytes;
  impl_->shard = std::make_unique<ShardWriter>(impl_->next_shard());
}

DatasetWriter::~DatasetWriter() {
  if (impl_->shard) impl_->discard();
}

std::int64_t DatasetWriter::size() const { return impl_->samples; }

std::int64_t DatasetWriter::add(const Sample& sample) {
  Impl& to = *impl_;
  check(to.shard != nullptr, "writing data set {}: add() after close()", to.path);
  if (to.sharded() && to.shard->bytes() >= to.shard_bytes) {
    to.finish_shard();
    to.shard = std::make_unique<ShardWriter>(to.next_shard());
  }
  to.shard->add(sample);
  return to.samples++;
}

void DatasetWriter::close() {
  check(impl_->shard != nullptr, "writing data set {}: closed twice", impl_->path);
  try {
    impl_->finish_shard();
    impl_->manifest.provenance = impl_->provenance;
    if (impl_->sharded()) write_manifest(impl_->path, impl_->manifest);
  } catch (...) {
    impl_->discard();
    throw;
  }
}

}  // namespace skymm
