// The shards of an import in progress. Each says in its provenance which records of its input it covers, so the files
// themselves are all that an interrupted import needs to go on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/import/record.hpp"
#include "io/shard_writer.hpp"

namespace skymm {

struct ImportedShard {
  std::string path;
  std::int64_t samples = 0;
  std::map<std::string, std::int64_t> rejects;  // by reason
};

struct ImportedShards {
  std::vector<ImportedShard> shards;
  std::int64_t records = 0;  // of the input that they cover
  bool complete = false;     // to its end
};

// The whole shards of an input, by its number.
ImportedShards find_imported_shards(const std::string& out, std::size_t input);

// The list of what a shard's records were refused for lies beside it until the import is done.
std::string rejects_path(const std::string& shard_path);

// Gathers records until it is finished; then it goes on with the next.
class ShardInProgress {
 public:
  ShardInProgress(std::string out, std::size_t input, const ImportedShards& done);
  void add(const std::string& input, Record&& record);
  std::int64_t bytes() const { return writer_->bytes() + std::ssize(rejects_); }
  void finish(bool last);  // last: of the input

 private:
  void open();

  std::string out_, rejects_;
  std::size_t input_;
  int number_;
  std::int64_t first_, end_;  // records
  std::map<std::string, std::int64_t> counts_;
  std::unique_ptr<ShardWriter> writer_;
};

// Writes the shard anew without these samples (ascending).
void drop_samples(const std::string& path, const std::vector<std::int64_t>& samples);
std::int64_t dropped_samples(const std::vector<std::string>& paths);  // by drop_samples, of these shards

}  // namespace skymm
