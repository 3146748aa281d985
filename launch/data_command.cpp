#include "launch/data_command.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>

#include "io/dataset.hpp"
#include "io/file.hpp"
#include "io/manifest.hpp"
#include "io/picturebook/evaluation_sets.hpp"
#include "io/picturebook/picturebook.hpp"
#include "io/tokenizer.hpp"
#include "launch/command.hpp"
#include "launch/config/options.hpp"
#include "launch/derive_command.hpp"
#include "launch/encode_command.hpp"
#include "launch/import_command.hpp"

namespace skymm {
namespace {

using Words = std::vector<std::string>;

constexpr std::int64_t most_counted = 100'000;  // samples of a file whose parts `inspect` reads

template <class... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  std::fputs(fmt::format(format, std::forward<Args>(args)...).c_str(), stdout);
}

// ---- build

int build_picturebook_command(const Words& arguments) {
  PicturebookOptions options;
  const std::vector<Flag> flags = {
      {"out", "DIR", "where the files go; default data/picturebook"},
      {"cache", "DIR", "where packages are fetched to and unpacked; default data/packages"},
      {"unpacked", "DIR", "a folder with the packages unpacked; nothing is fetched"},
      {"scale", "X", "multiplies the number of samples (more than 0); default 1"},
      {"seed", "N", "of everything random; default 1"},
      {"negatives", "BOOL", "false: stage 2 has no question about what is not in the picture; default true"},
  };
  const Arguments given = parse_arguments("skymm data build picturebook", flags, arguments, 0);
  if (given.help) {
    print(
        "skymm data build picturebook [--out DIR] [--cache DIR] [--scale X]\n\n"
        "Makes a bilingual data set with exact truth from Debian packages (emoji, stamps and their names in English\n"
        "and Chinese): pictures and captions, instructions with negatives, and an evaluation set in MME's layout.\n"
        "Packages are fetched with apt-get download, once, and unpacked beside, not installed.\n\n{}",
        flags_help(flags));
    return 0;
  }
  const auto text = [](const std::string& value) { return value; };
  options.output = given.get("out", text, options.output);
  options.cache = given.get("cache", text, options.cache);
  options.unpacked = given.get("unpacked", text, options.unpacked);
  options.scale = given.get("scale", parse_number, options.scale);
  options.seed = given.get("seed", parse_unsigned, options.seed);
  options.negatives = given.get("negatives", parse_bool, options.negatives);
  if (options.scale <= 0) fail_usage("--scale: {} is out of range: more than 0", options.scale);
  build_picturebook(options);
  return 0;
}

struct EvaluationSetCommand {
  const char* name;
  const char* about;
  std::vector<const char*> examples;  // how it is asked
  const char* pictures;               // what --pictures counts
  int default_pictures;
  void (*build)(const EvaluationSetOptions&);
};

int build_evaluation_set(const EvaluationSetCommand& command, const Words& arguments) {
  const std::string path = fmt::format("skymm data build {}", command.name),
                    output = fmt::format("data/{}", command.name),
                    out_help = fmt::format("where the files go; default {}", output),
                    pictures_help = fmt::format("{}; default {}", command.pictures, command.default_pictures);
  const std::vector<Flag> flags = {
      {"out", "DIR", out_help.c_str()},
      {"cache", "DIR", "where packages are fetched to and unpacked; default data/packages"},
      {"unpacked", "DIR", "a folder with the packages unpacked; nothing is fetched"},
      {"pictures", "N", pictures_help.c_str()},
      {"seed", "N", "of everything random; default 1"},
  };
  const Arguments given = parse_arguments(path, flags, arguments, 0);
  if (given.help) {
    print("{} [--out DIR] [--pictures N]\n\n", path);
    for (const std::string& line : wrapped(command.about, 115)) print("{}\n", line);
    print("\n  {}\n", path);
    for (const char* example : command.examples) print("  {}\n", example);
    print("\n{}", flags_help(flags));
    return 0;
  }
  const auto text = [](const std::string& value) { return value; };
  EvaluationSetOptions options;
  options.output = given.get("out", text, output);
  options.cache = given.get("cache", text, options.cache);
  options.unpacked = given.get("unpacked", text, options.unpacked);
  options.seed = given.get("seed", parse_unsigned, options.seed);
  const auto pictures = given.get("pictures", parse_positive, std::int64_t{command.default_pictures});
  if (pictures > most_evaluation_pictures)
    fail_usage("--pictures: {} is out of range: at most {}", pictures, most_evaluation_pictures);
  options.pictures = static_cast<int>(pictures);
  command.build(options);
  return 0;
}

int build_mme_command(const Words& arguments) {
  return build_evaluation_set(
      {.name = "picturebook-mme",
       .about = "Makes yes/no questions about emoji canvases in MME's layout, in English and Chinese: nine of MME's "
                "tasks, and position again in four grades, each a task of its own: left or right, above or below, "
                "between, in which quarter of the picture. Two questions a picture; their answers are drawn "
                "independently. No training picture of any picture book has such a layout.",
       .examples = {"skymm eval mme --run runs/nano/stage2 --data data/picturebook-mme"},
       .pictures = "of each task in each language",
       .default_pictures = 300,
       .build = build_picturebook_mme},
      arguments);
}

int build_mmbench_command(const Words& arguments) {
  return build_evaluation_set(
      {.name = "picturebook-mmbench",
       .about = "Makes multiple-choice questions about emoji canvases as MMBench's tables (TSV, pictures in base64), "
                "one in English and one in Chinese with the same pictures and questions: eight tasks, and position in "
                "four grades. The letter of the right option is drawn evenly. No training picture of any picture book "
                "has such a layout.",
       .examples = {"skymm eval mmbench --run runs/nano/stage2 --data data/picturebook-mmbench"},
       .pictures = "of each task",
       .default_pictures = 100,
       .build = build_picturebook_mmbench},
      arguments);
}

int build_pope_command(const Words& arguments) {
  return build_evaluation_set(
      {.name = "picturebook-pope",
       .about = "Makes POPE's questions about emoji canvases, in English and Chinese: of each picture, three about "
                "things that are there and three about things that are not. Those are drawn evenly (random), are the "
                "most frequent ones (popular), or stand most often beside what is there (adversarial), as counted on "
                "the set's own pictures. No training picture of any picture book has such a layout.",
       .examples = {"skymm eval pope --run runs/nano/stage2 --data data/picturebook-pope"},
       .pictures = "in all, six questions each in every setting and language",
       .default_pictures = 500,
       .build = build_picturebook_pope},
      arguments);
}

int build_tokenizer_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"corpus", "FILE", "text, a sentence a line; default data/picturebook/corpus.txt"},
      {"symbols", "FILE", "strings that become one token each, a line each; default data/picturebook/symbols.txt"},
      {"out", "FILE", "the model; default data/picturebook/tokenizer.model"},
      {"vocab", "N", "tokens; default 3072"},
      {"coverage", "X",
       "share of the corpus' characters that get a token of their own; the rest are bytes; default 0.98"},
  };
  const Arguments given = parse_arguments("skymm data build tokenizer", flags, arguments, 0);
  if (given.help) {
    print("skymm data build tokenizer [--corpus FILE] [--out FILE]\n\nTrains a SentencePiece BPE tokenizer.\n\n{}",
          flags_help(flags));
    return 0;
  }
  const auto text = [](const std::string& value) { return value; };
  TokenizerTraining training;
  training.vocab_size = static_cast<int>(given.get("vocab", parse_integer, std::int64_t{3072}));
  training.character_coverage = given.get("coverage", parse_number, 0.98);
  std::istringstream lines(read_file(given.get("symbols", text, std::string("data/picturebook/symbols.txt"))));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) training.symbols.push_back(line);
  }
  const std::string out = given.get("out", text, std::string("data/picturebook/tokenizer.model"));
  train_tokenizer(given.get("corpus", text, std::string("data/picturebook/corpus.txt")), out, training);
  print("{}: {} tokens, {} of them given\n", out, training.vocab_size, training.symbols.size());
  return 0;
}

int build_command(const Words& arguments) {
  static const std::vector<Command> sets = {
      {"picturebook", "a bilingual set with exact truth, of Debian packages", build_picturebook_command},
      {"picturebook-mme", "held-out questions in MME's layout, in both languages", build_mme_command},
      {"picturebook-mmbench", "held-out multiple-choice questions as MMBench's tables", build_mmbench_command},
      {"picturebook-pope", "held-out questions about absent things in POPE's form", build_pope_command},
      {"negatives", "questions about what is and is not in a set's pictures", build_negatives_command},
      {"mismatched", "a copy of a set with worse pairs: some pictures have another one's text",
       build_mismatched_command},
      {"tokenizer", "a SentencePiece tokenizer of a text", build_tokenizer_command}};
  return dispatch("skymm data build", "Makes a data set.", sets, arguments);
}

// ---- inspect and verify --------------------------------------------------------------------------------------------

// A data set, or all those in a folder that is none itself.
std::vector<std::string> files_of(const std::string& path) {
  namespace fs = std::filesystem;
  check(fs::exists(path), "there is no data set {}", path);
  if (!fs::is_directory(path) || fs::exists(fs::path(path) / manifest_name)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string file = entry.path().string();
    if (file.ends_with(".h5") && !file.ends_with(".features.h5")) files.push_back(file);
  }
  check(!files.empty(), "the folder {} holds no data set (*.h5)", path);
  std::ranges::sort(files);
  return files;
}

const char* name_of(Language language) {
  return language == Language::english ? "English" : language == Language::chinese ? "Chinese" : "none";
}

const char* name_of(Polarity polarity) {
  return polarity == Polarity::positive ? "positive" : polarity == Polarity::negative ? "negative" : "none";
}

using Counts = std::map<std::string, std::int64_t>;

void print_counts(const char* title, const Counts& counts) {
  std::int64_t all = 0;
  for (const auto& [name, count] : counts) all += count;
  if (all == 0) return;
  print("  {}\n", title);
  for (const auto& [name, count] : counts) {
    print("    {:<24}{:>10}  {:5.1f} %\n", name, count, 100.0 * static_cast<double>(count) / static_cast<double>(all));
  }
}

void print_sample(const Dataset& dataset, std::int64_t index) {
  const Sample sample = dataset.read(index);
  print("\n  sample {}  id {}  language {}  source {}\n", index, sample.id, name_of(sample.language), sample.source);
  for (const Part& part : sample.parts) {
    switch (part.kind) {
      case Part::Kind::text:
        print("    text    {}\n", part.text);
        break;
      case Part::Kind::image:
        print("    image   {} ({} bytes)\n", part.image, sample.images.at(static_cast<std::size_t>(part.image)).size());
        break;
      case Part::Kind::answer:
        print("    answer  {}   [{}, {}]\n", part.text, part.task.empty() ? "no task" : part.task,
              name_of(part.polarity));
        break;
    }
  }
  if (!sample.annotations.empty()) print("    truth   {}\n", sample.annotations);
}

void inspect(const Dataset& dataset, std::int64_t samples) {
  print("{}\n  {} samples, {} different pictures{}\n", dataset.path(), dataset.size(), dataset.image_count(),
        dataset.shard_count() == 1 ? "" : fmt::format(", in {} shards", dataset.shard_count()));
  print("  made by {}\n", dataset.provenance());
  Counts languages, sources, tasks, polarities;
  for (const Language language : {Language::none, Language::english, Language::chinese}) {
    const std::int64_t count = dataset.count(language, dataset.size());
    if (count > 0) languages[name_of(language)] = count;
  }
  sources = dataset.source_counts();
  // Of a large set, samples at even distances.
  const std::int64_t step = std::max<std::int64_t>(1, (dataset.size() + most_counted - 1) / most_counted);
  for (std::int64_t i = 0; i < dataset.size(); i += step) {
    for (const Part& part : dataset.read(i, false).parts) {
      if (part.kind != Part::Kind::answer) continue;
      ++tasks[part.task.empty() ? "none" : part.task];
      ++polarities[name_of(part.polarity)];
    }
  }
  const std::string of = step == 1 ? "" : fmt::format(", of every {}th sample", step);
  print_counts("language", languages);
  print_counts("source", sources);
  print_counts(fmt::format("task of answers{}", of).c_str(), tasks);
  print_counts(fmt::format("polarity of answers{}", of).c_str(), polarities);
  for (std::int64_t i = 0; i < std::min(samples, dataset.size()); ++i) {
    print_sample(dataset, i * dataset.size() / std::min(samples, dataset.size()));
  }
}

int inspect_command(const Words& arguments) {
  const std::vector<Flag> flags = {{"sample", "N", "also print N samples, spread evenly over the set; default 0"}};
  const Arguments given = parse_arguments("skymm data inspect", flags, arguments, 1);
  if (given.help) {
    print("skymm data inspect PATH [--sample N]\n\nSays what a data set (or each in a folder) holds.\n\n{}",
          flags_help(flags));
    return 0;
  }
  if (given.positional.empty()) fail_usage("skymm data inspect: which data set? Give a file or a folder");
  const auto samples = given.get("sample", parse_integer, std::int64_t{0});
  if (samples < 0) fail_usage("--sample: {} is out of range: at least 0", samples);
  for (const std::string& file : files_of(given.positional.front())) inspect(Dataset(file), samples);
  return 0;
}

int verify_command(const Words& arguments) {
  const Arguments given = parse_arguments("skymm data verify", {}, arguments, 1);
  if (given.help) {
    print(
        "skymm data verify PATH\n\nReads every byte of a data set (or of each in a folder), names each damaged shard\n"
        "and what is damaged in it. Ends with 1 where one is.\n");
    return 0;
  }
  if (given.positional.empty()) fail_usage("skymm data verify: which data set? Give a file or a folder");
  int damaged = 0;
  for (const std::string& file : files_of(given.positional.front())) {
    try {
      const Dataset dataset(file);
      const std::vector<std::string> damage = dataset.find_damage();
      for (const std::string& what : damage) print("{}: DAMAGED: {}\n", file, what);
      damaged += !damage.empty();
      if (damage.empty()) {
        print("{}: {} samples, {} pictures, all whole\n", file, dataset.size(), dataset.image_count());
      }
    } catch (const Error& error) {
      ++damaged;
      print("{}: DAMAGED: {}\n", file, error.message());
    }
  }
  return damaged == 0 ? 0 : 1;
}

}  // namespace

int data_command(const std::vector<std::string>& arguments) {
  static const std::vector<Command> verbs = {
      {"build", "make a data set", build_command},
      {"import", "bring in a data set of another project", import_command},
      {"translate", "copy a set into the other language, of translations that exist", translate_command},
      {"encode", "keep what a recipe's frozen ViT makes of the pictures", encode_command},
      {"inspect", "say what a data set holds, and show samples", inspect_command},
      {"verify", "read every byte and compare checksums", verify_command},
  };
  return dispatch("skymm data", "Data sets: samples (pictures and conversations) in HDF5.", verbs, arguments);
}

}  // namespace skymm
