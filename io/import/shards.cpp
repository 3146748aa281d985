#include "io/import/shards.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/dataset.hpp"
#include "io/file.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string path_of(const std::string& out, std::size_t input, int number) {
  return (fs::path(out) / fmt::format("shard-{:05}-{:05}.h5", input, number)).string();
}

}  // namespace

std::string rejects_path(const std::string& shard_path) { return shard_path + ".rejects"; }

ImportedShards find_imported_shards(const std::string& out, std::size_t input) {
  ImportedShards found;
  for (int number = 0; !found.complete; ++number) {
    const std::string path = path_of(out, input, number);
    if (!fs::exists(path)) return found;
    const Dataset shard(path);
    const json origin = json::parse(shard.provenance());
    found.shards.push_back({path, shard.size(), origin.at("rejects")});
    found.records = origin.at("end");
    found.complete = origin.at("last");
  }
  return found;
}

ShardInProgress::ShardInProgress(std::string out, std::size_t input, const ImportedShards& done)
    : out_(std::move(out)),
      input_(input),
      number_(static_cast<int>(done.shards.size())),
      first_(done.records),
      end_(done.records) {
  open();
}

void ShardInProgress::open() {
  writer_ = std::make_unique<ShardWriter>(path_of(out_, input_, number_));
  rejects_.clear();
  counts_.clear();
  first_ = end_;
}

void ShardInProgress::add(const std::string& input, Record&& record) {
  ++end_;
  if (record.reject == Reject::none) {
    if (record.sample.id.empty())
      record.sample.id = fmt::format("{} {}", fs::path(input).filename().string(), record.where);
    writer_->add(record.sample);
    return;
  }
  const std::string reason(name_of(record.reject));
  ++counts_[reason];
  const json line = {{"input", input}, {"where", record.where}, {"reason", reason}, {"detail", record.detail}};
  rejects_ += line.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
}

void ShardInProgress::finish(bool last) {
  // The list first: a shard that is there has its list.
  write_file(rejects_path(path_of(out_, input_, number_)), rejects_);
  const json provenance = {{"input", input_}, {"first", first_}, {"end", end_}, {"last", last}, {"rejects", counts_}};
  writer_->close(provenance.dump());
  ++number_;
  if (!last) open();
}

void drop_samples(const std::string& path, const std::vector<std::int64_t>& samples) {
  const Dataset shard(path);
  json provenance = json::parse(shard.provenance());
  provenance["dropped"] = provenance.value("dropped", std::int64_t{0}) + std::ssize(samples);
  ShardWriter writer(path);
  auto drop = samples.begin();
  for (std::int64_t i = 0; i < shard.size(); ++i) {
    if (drop != samples.end() && *drop == i) {
      ++drop;
    } else {
      writer.add(shard.read(i));
    }
  }
  writer.close(provenance.dump());
}

std::int64_t dropped_samples(const std::vector<std::string>& paths) {
  std::int64_t dropped = 0;
  for (const std::string& path : paths) {
    dropped += json::parse(Dataset(path).provenance()).value("dropped", std::int64_t{0});
  }
  return dropped;
}

}  // namespace skymm
