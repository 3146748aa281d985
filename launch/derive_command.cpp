#include "launch/derive_command.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "io/derive/mismatched.hpp"
#include "io/derive/negatives.hpp"
#include "io/derive/translate.hpp"
#include "launch/config/options.hpp"

namespace skymm {
namespace {

using Words = std::vector<std::string>;

// All these commands make a set of a set.
std::vector<Flag> with_sets(const char* data, std::vector<Flag> flags) {
  flags.insert(flags.begin(),
               {{"data", "SET", data}, {"out", "SET", "the new set: FILE.h5, or FILE.json for one in shards"}});
  return flags;
}

// The arguments; nothing where they asked for help, which was given.
std::optional<Arguments> read_arguments(const std::string& command, const char* synopsis, const char* about,
                                        const std::vector<Flag>& flags, const Words& words) {
  Arguments given = parse_arguments(command, flags, words, 0);
  if (!given.help) return given;
  std::fputs(fmt::format("{} {}\n\n{}\n\n{}", command, synopsis, about, flags_help(flags)).c_str(), stdout);
  return std::nullopt;
}

// One of the words; the first where nothing is given.
std::string choice(const Arguments& given, const char* name, const Words& choices) {
  const std::string* value = given.find(name);
  if (value == nullptr) return choices.front();
  if (std::ranges::find(choices, *value) != choices.end()) return *value;
  fail_usage("--{}: '{}' is none of {}", name, *value, fmt::join(choices, ", "));
}

}  // namespace

int build_negatives_command(const Words& arguments) {
  const std::vector<Flag> flags = with_sets(
      "pictures with annotations, tags or captions: a file, a manifest or its folder",
      {
          {"vocabulary", "FILE", "things to look for in captions: a line an English name, a tab and a Chinese name"},
          {"languages", "en|zh|both", "default both: a sample of each for a picture"},
          {"pairs", "N", "of a positive and a negative question, of each picture; default 3"},
          {"seed", "N", "of everything random; kept in the set; default 1"},
      });
  const auto given = read_arguments(
      "skymm data build negatives", "--data SET --out SET [--vocabulary FILE]",
      "Asks about what is in each picture, and as often about what is not: an absent thing (drawn evenly, by how\n"
      "often it occurs, and by how often it stands beside what is there), a wrong colour, number or place. What is "
      "there\n"
      "is known of annotations and tags, and of all answers about the picture: a colour or number where the phrase is\n"
      "plain (\"a red ball\", \"two dogs\", also in Chinese), a place of annotations alone.",
      flags, arguments);
  if (!given) return 0;
  NegativesOptions options;
  options.input = given->required("data");
  options.output = given->required("out");
  if (given->find("vocabulary")) options.vocabulary = read_vocabulary(given->required("vocabulary"));
  const std::string languages = choice(*given, "languages", {"both", "en", "zh"});
  options.english = languages != "zh";
  options.chinese = languages != "en";
  options.pairs = static_cast<int>(given->get("pairs", parse_positive, std::int64_t{3}));
  options.seed = given->get("seed", parse_unsigned, std::uint64_t{1});
  const NegativesResult result = build_negatives(options);
  std::printf("%s: %lld samples of %lld pictures; %lld pictures show nothing known\n", options.output.c_str(),
              static_cast<long long>(result.samples), static_cast<long long>(result.pictures),
              static_cast<long long>(result.without_objects));
  for (const auto& [kind, count] : result.turns) {
    std::printf("  %-24s%10lld\n", kind.c_str(), static_cast<long long>(count));
  }
  return 0;
}

int build_mismatched_command(const Words& arguments) {
  const std::vector<Flag> flags =
      with_sets("pictures and texts", {{"share", "X", "of the samples that give their text away, 0 to 1; default 0.5"},
                                       {"seed", "N", "of the draw; kept in the set; default 1"}});
  const auto given = read_arguments(
      "skymm data build mismatched", "--data SET --out SET [--share X]",
      "Copies a set and gives some of its pictures another picture's text, in the same language: what pairs from the\n"
      "web are like, for studies of what such noise does.",
      flags, arguments);
  if (!given) return 0;
  MismatchedOptions options;
  options.input = given->required("data");
  options.output = given->required("out");
  options.share = given->get("share", parse_number, options.share);
  options.seed = given->get("seed", parse_unsigned, options.seed);
  const MismatchedResult result = build_mismatched(options);
  std::printf("%s: %lld samples, %lld of them with another one's text\n", options.output.c_str(),
              static_cast<long long>(result.samples), static_cast<long long>(result.mismatched));
  return 0;
}

int translate_command(const Words& arguments) {
  const std::vector<Flag> flags = with_sets(
      "the set to be copied",
      {
          {"translations", "FILE",
           "JSON lines {\"id\", \"texts\": [...]}, or a .csv or .tsv with the columns source and translation"},
          {"to", "en|zh", "its language; default zh"},
      });
  const auto given = read_arguments(
      "skymm data translate", "--data SET --translations FILE --out SET",
      "Makes a set's copy in the other language of translations that exist; each sample names the one that it is\n"
      "the translation of. Samples without a whole translation are left out and counted.",
      flags, arguments);
  if (!given) return 0;
  const bool chinese = choice(*given, "to", {"zh", "en"}) == "zh";
  const TranslateResult result =
      translate_dataset(given->required("data"), given->required("translations"), given->required("out"),
                        chinese ? Language::chinese : Language::english);
  std::printf("%s: %lld samples; %lld without a whole translation\n", given->required("out").c_str(),
              static_cast<long long>(result.translated), static_cast<long long>(result.without_translation));
  return 0;
}

}  // namespace skymm
