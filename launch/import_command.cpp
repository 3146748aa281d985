#include "launch/import_command.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "core/log.hpp"
#include "io/import/import.hpp"
#include "launch/command.hpp"
#include "launch/config/options.hpp"
#include "parallel/communicator.hpp"
#include "parallel/job.hpp"
#include "parallel/watchdog.hpp"

namespace skymm {
namespace {

using Words = std::vector<std::string>;

const std::vector<Flag>& flags() {
  static const std::vector<Flag> all = {
      {"out", "DIR", "a new folder for the set; give DIR to --data.train"},
      {"images", "DIR",
       "folder that pictures' names are relative to; default: each input's own, names may be absolute"},
      {"check", "scan|decode",
       "of each picture: its structure, with PNG's checksums; or its pixels too, at a tenth of the speed. What is "
       "damaged within pixels is otherwise found in training, where it is left out and counted; default scan"},
      {"language", "en|zh|none", "of all samples; default: each by the share of hanzi among its letters"},
      {"duplicates", "keep|drop", "samples whose pictures all came before: kept and counted, or dropped; default keep"},
      {"source", "NAME", "that samples carry; default: the format's"},
      {"shard-mb", "N", "a file of the set is closed when it holds so many MiB; default 1024"},
      {"threads", "N", "of each rank, that read and check pictures; default: all cores of the host, over its ranks"},
      {"image-column", "NAME", "field of the picture's name; default image, image_path, file, filename or path"},
      {"caption-column", "NAME", "default caption, text or title"},
      {"question-column", "NAME", "default question"},
      {"answer-column", "NAME", "default answer"},
      {"id-column", "NAME", "default id"},
  };
  return all;
}

std::string help() {
  std::string text =
      "skymm data import FORMAT INPUT... --out DIR\n\n"
      "Brings a data set into shards and a manifest, DIR/dataset.json. An entry that cannot be used is listed in\n"
      "DIR/rejects.jsonl with its place and reason. Killed, it goes on where it was when run again. Under mpirun each\n"
      "rank takes its share of the inputs, or of each input's entries where ranks are more than inputs.\n\n"
      "  skymm data import llava llava_v1_5_mix665k.json --images data --out data/llava\n"
      "  mpirun -n 4 skymm data import webdataset cc3m/*.tar --out data/cc3m\n\nFormats\n";
  for (const ImportFormat& format : import_formats()) text += help_entry(format.name, format.help, 26);
  return text + "\n" + flags_help(flags());
}

std::optional<Language> parse_language(std::string_view name) {
  if (name == "en") return Language::english;
  if (name == "zh") return Language::chinese;
  check(name == "none", "'{}' is neither en, zh nor none", name);
  return Language::none;
}

bool parse_choice(std::string_view value, std::string_view yes, std::string_view no) {
  check(value == yes || value == no, "'{}' is neither {} nor {}", value, yes, no);
  return value == yes;
}

ImportOptions read_options(const Arguments& given) {
  const auto text = [](const std::string& value) { return value; };
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  ImportOptions options;
  options.format = given.positional.front();
  options.inputs = {given.positional.begin() + 1, given.positional.end()};
  options.out = given.required("out");
  options.images = given.get("images", text, std::string());
  options.columns = {given.get("image-column", text, std::string()), given.get("caption-column", text, std::string()),
                     given.get("question-column", text, std::string()), given.get("answer-column", text, std::string()),
                     given.get("id-column", text, std::string())};
  const auto decode = [](std::string_view value) { return parse_choice(value, "decode", "scan"); };
  const auto drop = [](std::string_view value) { return parse_choice(value, "drop", "keep"); };
  options.check = given.get("check", decode, false) ? PictureCheck::decode : PictureCheck::scan;
  options.drop_duplicates = given.get("duplicates", drop, false);
  options.language = given.get("language", parse_language, std::optional<Language>());
  options.source = given.get("source", text, std::string());
  options.shard_bytes = given.get("shard-mb", parse_positive, std::int64_t{1024}) << 20;
  options.threads =
      static_cast<int>(given.get("threads", parse_positive, std::int64_t{import_threads(cores, read_job())}));
  return options;
}

void show(const ImportProgress& progress) {
  const double mb = static_cast<double>(progress.bytes) / 1e6, seconds = std::max(progress.seconds, 1e-3);
  const double share =
      progress.all_bytes > 0 ? static_cast<double>(progress.bytes) / static_cast<double>(progress.all_bytes) : 0;
  log::info("{}: {} samples, {} rejected, {:.0f} samples/s, {:.1f} MB/s of input, {:.1f} % of this rank's share",
            progress.input, progress.samples, progress.rejected, static_cast<double>(progress.samples) / seconds,
            mb / seconds, 100 * share);
}

void print_result(const ImportResult& result) {
  std::printf("%s: %lld samples, %lld pictures, %lld shards\n", result.manifest.c_str(),
              static_cast<long long>(result.samples), static_cast<long long>(result.images),
              static_cast<long long>(result.shards));
  for (const auto& [reason, count] : result.rejects) {
    std::printf("  rejected: %-16s%10lld\n", reason.c_str(), static_cast<long long>(count));
  }
  if (!result.rejects.empty()) {
    const std::filesystem::path list = std::filesystem::path(result.manifest).parent_path() / rejects_name;
    std::printf("  each with its reason in %s\n", list.c_str());
  }
  std::printf("  duplicates: %lld samples whose pictures all came before\n", static_cast<long long>(result.duplicates));
  std::fflush(stdout);
}

}  // namespace

int import_threads(int cores, const Job& job) { return std::max(1, cores / std::max(1, job.local_ranks)); }

int import_command(const Words& arguments) {
  const Arguments given = parse_arguments("skymm data import", flags(), arguments, arguments.size());
  if (given.help) {
    std::fputs(help().c_str(), stdout);
    return 0;
  }
  std::vector<std::string> names;
  for (const ImportFormat& format : import_formats()) names.emplace_back(format.name);
  if (given.positional.size() < 2) fail_usage("skymm data import needs a format and an input; --help shows how");
  if (std::ranges::find(names, given.positional.front()) == names.end()) {
    const std::string guess = nearest(given.positional.front(), names);
    fail_usage("'{}' is no format{}; there are {}", given.positional.front(),
               guess.empty() ? "" : fmt::format(", did you mean '{}'", guess), fmt::join(names, ", "));
  }
  const std::unique_ptr<Communicator> ranks = world();
  ImportOptions options = read_options(given);
  auto last = std::chrono::steady_clock::now();
  options.on_progress = [&](const ImportProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < std::chrono::seconds(10)) return;
    last = now;
    show(progress);
  };
  const UnlimitedWaits waits;  // who has no input left waits for who reads the largest
  const ImportResult result = import_dataset(options, *ranks);
  if (ranks->rank() == 0) print_result(result);
  return result.rejects.contains(std::string(name_of(Reject::input_damaged))) ? 1 : 0;
}

}  // namespace skymm
