// Data sets of other projects, brought into shards and a manifest: several threads a rank, the inputs dealt to ranks,
// or parts of each where there are more ranks. What was done when an import was killed is kept: run again, on any
// number of ranks, it goes on behind each part's last whole shard.
//
//   OUT/import.json                  what is being imported; another import into the folder is refused
//   OUT/shard-<part>-<number>.h5     with the records that it covers in its provenance
//   OUT/rejects.jsonl                a line an entry that is not in the set: {"input", "where", "reason", "detail"}
//   OUT/dataset.json                 the manifest, last: the import is done
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/communicator.hpp"
#include "io/import/prepare.hpp"
#include "io/import/record.hpp"

namespace skymm {

constexpr const char* rejects_name = "rejects.jsonl";

struct ImportProgress {
  std::string input;
  std::int64_t samples = 0, rejected = 0;  // of this rank, in this run
  std::int64_t bytes = 0, all_bytes = 0;   // of this rank's inputs: read, and in all
  double seconds = 0;
};

struct ImportOptions {
  std::string format;               // a name of import_formats()
  std::vector<std::string> inputs;  // files or, for mme, folders
  std::string out;                  // folder
  std::string images;               // folder of pictures; "": each input's own, and names may be absolute
  ColumnNames columns;
  PictureCheck check = PictureCheck::scan;
  std::optional<Language> language;
  std::string source;            // "": the format's name
  bool drop_duplicates = false;  // samples all of whose pictures came before in the set
  std::int64_t shard_bytes = std::int64_t{1} << 30;
  int threads = 1;                                              // that prepare, of each rank
  std::function<void(const ImportProgress&)> on_progress = {};  // after each shard, and about every second
};

struct ImportResult {
  std::int64_t samples = 0, images = 0, shards = 0;
  std::map<std::string, std::int64_t> rejects;  // by reason
  std::int64_t duplicates = 0;                  // samples all of whose pictures came before; dropped, or counted only
  std::string manifest;                         // its path
};

// All ranks must call this; all get the result. Throws Error where the folder holds another import, an input cannot be
// opened, or the disk is full; what is bad within an input is counted in `rejects` and listed.
ImportResult import_dataset(const ImportOptions& options, Communicator& ranks);

}  // namespace skymm
