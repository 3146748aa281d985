#include "io/import/import.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/dataset_shard.hpp"
#include "io/file.hpp"
#include "io/import/duplicates.hpp"
#include "io/import/pipeline.hpp"
#include "io/import/shards.hpp"
#include "io/manifest.hpp"
#include "io/shard_writer.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

const ImportFormat& format_of(const std::string& name) {
  const auto& formats = import_formats();
  const auto found = std::ranges::find(formats, name, [](const ImportFormat& f) { return std::string(f.name); });
  check(found != formats.end(), "'{}' is no format of data sets", name);
  return *found;
}

std::int64_t size_of(const std::string& input) {
  std::error_code error;
  if (fs::is_directory(input, error)) return 0;
  const std::uintmax_t bytes = fs::file_size(input, error);
  check(!error, "the input {} cannot be read: {}", input, error.message());
  return static_cast<std::int64_t>(bytes);
}

// What decides the samples and the shards: an import goes on only where it is the same.
json description_of(const ImportOptions& options) {
  json inputs = json::array();
  for (const std::string& input : options.inputs) {
    inputs.push_back({{"path", fs::absolute(input).lexically_normal().string()}, {"bytes", size_of(input)}});
  }
  const ColumnNames& names = options.columns;
  return {{"format", options.format},
          {"inputs", std::move(inputs)},
          {"images", options.images},
          {"columns", {names.image, names.caption, names.question, names.answer, names.id}},
          {"check", options.check == PictureCheck::decode ? "decode" : "scan"},
          {"language", options.language ? static_cast<int>(*options.language) : -1},
          {"source", options.source},
          {"duplicates", options.drop_duplicates ? "drop" : "keep"},
          {"shard_bytes", options.shard_bytes}};
}

std::string claim_path(const ImportOptions& options) { return (fs::path(options.out) / "import.json").string(); }

// The parts of each input: so many that each rank has one. An import that goes on keeps those that it began with, since
// its shards are of them.
void claim_folder(const ImportOptions& options, int ranks) {
  std::error_code error;
  fs::create_directories(options.out, error);
  check(!error, "cannot make folder {}: {}", options.out, error.message());
  check(!fs::exists(fs::path(options.out) / manifest_name),
        "{} holds a data set that is complete; remove it, or choose another folder", options.out);
  const std::string path = claim_path(options);
  json claim = description_of(options);
  const std::int64_t inputs = std::ssize(options.inputs);
  claim["parts"] = (ranks + inputs - 1) / inputs;
  if (fs::exists(path)) {
    json before = json::parse(read_file(path), nullptr, false);
    if (before.is_object()) claim["parts"] = before["parts"] = before.value("parts", 1);
    check(
        before == claim,
        "{} holds an import of other inputs, or with other options, that was not finished; run that one again, remove "
        "the folder, or choose another",
        options.out);
  } else {
    fs::remove(fs::path(options.out) / rejects_name);  // of an attempt that found nothing to keep
    check(fs::is_empty(options.out), "{} is not empty; choose an empty folder, or one that does not exist",
          options.out);
    write_file(path, claim.dump(1));
  }
}

std::int64_t parts_of_inputs(const ImportOptions& options) {
  return json::parse(read_file(claim_path(options))).value("parts", 1);
}

// One rank's share of an import.
class RankImport {
 public:
  // Part p of input i is number i * parts + p, of its shards too.
  RankImport(const ImportOptions& options, std::int64_t parts, int rank, int ranks)
      : options_(options), format_(format_of(options.format)), parts_(parts) {
    for (std::int64_t i = rank; i < std::ssize(options.inputs) * parts; i += ranks) {
      mine_.push_back(i);
      progress_.all_bytes += size_of(input_of(i));
    }
  }

  void run() {
    for (const std::int64_t number : mine_) {
      import_part(number);
      done_bytes_ += size_of(input_of(number));
    }
  }

 private:
  PrepareOptions prepare_options(const std::string& input) const {
    PrepareOptions prepare;
    prepare.confined = !options_.images.empty();
    prepare.images = prepare.confined ? options_.images : fs::path(input).parent_path().string();
    prepare.check = options_.check;
    prepare.language = options_.language;
    prepare.source = options_.source.empty() ? options_.format : options_.source;
    return prepare;
  }

  const std::string& input_of(std::int64_t number) const {
    return options_.inputs[static_cast<std::size_t>(number / parts_)];
  }

  void import_part(std::int64_t number) {
    const std::string& input = input_of(number);
    progress_.input = input;
    const auto shards = static_cast<std::size_t>(number);
    ImportedShards done = find_imported_shards(options_.out, shards);
    if (done.complete) return;
    RecordPipeline pipeline(format_.read, input, {number % parts_, parts_}, {options_.images, options_.columns},
                            prepare_options(input), done.records, options_.threads);
    ShardInProgress shard(options_.out, shards, done);
    while (std::optional<Record> record = pipeline.next()) {
      if (shard.bytes() >= options_.shard_bytes) {
        shard.finish(false);
        show(pipeline, true);
      }
      const bool good = record->reject == Reject::none;
      ++(good ? progress_.samples : progress_.rejected);
      shard.add(input, std::move(*record));
      show(pipeline, false);
    }
    shard.finish(true);
    show(pipeline, true);
  }

  void show(const RecordPipeline& pipeline, bool now) {
    const Clock::time_point time = Clock::now();
    if (!options_.on_progress || (!now && time - shown_ < std::chrono::seconds(1))) return;
    shown_ = time;
    progress_.bytes = done_bytes_ + pipeline.byte();
    progress_.seconds = std::chrono::duration<double>(time - start_).count();
    options_.on_progress(progress_);
  }

  const ImportOptions& options_;
  const ImportFormat& format_;
  const std::int64_t parts_;
  std::vector<std::int64_t> mine_;
  ImportProgress progress_;
  std::int64_t done_bytes_ = 0;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

// A line of the list of rejects, for a person.
std::string reject_text(const std::string& line) {
  const json entry = json::parse(line);
  return fmt::format("{}, {}: {} ({})", entry["input"].get<std::string>(), entry["where"].get<std::string>(),
                     entry["reason"].get<std::string>(), entry["detail"].get<std::string>());
}

// On one rank, when all shards are there. Where not a sample is left, only the list of rejects is, and Error.
void finish(const ImportOptions& options, std::int64_t parts) {
  Manifest manifest;
  std::map<std::string, std::int64_t> rejects;
  std::string first_reject;
  std::vector<std::string> paths, leftovers;
  AtomicFile list((fs::path(options.out) / rejects_name).string());
  for (std::size_t number = 0; number < options.inputs.size() * static_cast<std::size_t>(parts); ++number) {
    const ImportedShards done = find_imported_shards(options.out, number);
    check(done.complete, "{}: the shards of {} are not complete", options.out,
          options.inputs[number / static_cast<std::size_t>(parts)]);
    for (const ImportedShard& shard : done.shards) {
      for (const auto& [reason, count] : shard.rejects) rejects[reason] += count;
      const std::string lines = read_file(rejects_path(shard.path));
      if (first_reject.empty()) first_reject = lines.substr(0, lines.find('\n'));
      list.write(lines);
      leftovers.push_back(rejects_path(shard.path));
      (shard.samples > 0 ? paths : leftovers).push_back(shard.path);
    }
  }
  std::int64_t duplicates = 0;
  const auto found = find_duplicates(paths);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    duplicates += std::ssize(found[i]);
    if (options.drop_duplicates && !found[i].empty()) drop_samples(paths[i], found[i]);
    const ShardEntry entry = describe_shard(paths[i]);
    if (entry.samples > 0) {
      manifest.shards.push_back(entry);
    } else {
      leftovers.push_back(paths[i]);
    }
  }
  if (options.drop_duplicates) duplicates = dropped_samples(paths);  // in an attempt before this one, too
  list.commit();
  json provenance = description_of(options);
  provenance["rejects"] = rejects;
  provenance["duplicate_samples"] = duplicates;
  manifest.provenance = provenance.dump();
  if (!manifest.shards.empty()) write_manifest((fs::path(options.out) / manifest_name).string(), manifest);
  leftovers.push_back(claim_path(options));
  for (const std::string& path : leftovers) fs::remove(path);
  check(!manifest.shards.empty(), "nothing was imported: {}",
        first_reject.empty() ? "the inputs have no entries"
                             : fmt::format("no entry can be used; the first is {}; all are in {}",
                                           reject_text(first_reject), (fs::path(options.out) / rejects_name).string()));
}

ImportResult result_of(const std::string& out) {
  ImportResult result;
  result.manifest = (fs::path(out) / manifest_name).string();
  const Manifest manifest = read_manifest(result.manifest);
  result.shards = std::ssize(manifest.shards);
  for (const ShardEntry& shard : manifest.shards) {
    result.samples += shard.samples;
    result.images += shard.images;
  }
  const json provenance = json::parse(manifest.provenance);
  result.rejects = provenance.at("rejects").get<std::map<std::string, std::int64_t>>();
  result.duplicates = provenance.at("duplicate_samples");
  return result;
}

}  // namespace

ImportResult import_dataset(const ImportOptions& options, Communicator& ranks) {
  const ImportFormat& format = format_of(options.format);
  const ColumnNames& names = options.columns;
  check(options.images.empty() || format.pictures_apart, "the format {} brings its pictures; no folder of them is read",
        options.format);
  check(format.columns || (names.image + names.caption + names.question + names.answer + names.id).empty(),
        "the format {} has fixed names of fields; columns are for csv and jsonl", options.format);
  check(!options.inputs.empty(), "there is nothing to import: no input was given");
  check(options.threads > 0 && options.shard_bytes > 0, "an import needs a thread, and shards of some size");
  if (ranks.rank() == 0) claim_folder(options, ranks.size());
  ranks.barrier();
  const std::int64_t parts = parts_of_inputs(options);
  RankImport(options, parts, ranks.rank(), ranks.size()).run();
  ranks.barrier();
  if (ranks.rank() == 0) finish(options, parts);
  ranks.barrier();
  return result_of(options.out);
}

}  // namespace skymm
