#include "launch/derive_command.hpp"

#include <cstdio>

#include "io/derive/negatives.hpp"
#include "io/derive/translate.hpp"
#include "launch/options.hpp"

namespace skymm {
namespace {

using Words = std::vector<std::string>;

std::string as_text(const std::string& value) { return value; }

}  // namespace

int build_negatives_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"data", "SET", "pictures with annotations, tags or captions: a file, a manifest or its folder"},
      {"out", "SET", "the new set: FILE.h5, or FILE.json for one in shards"},
      {"vocabulary", "FILE", "things to look for in captions: a line an English name, a tab and a Chinese name"},
      {"languages", "en|zh|both", "default both: a sample of each for a picture"},
      {"pairs", "N", "of a positive and a negative question, of each picture; default 3"},
      {"seed", "N", "of everything random; kept in the set; default 1"},
  };
  const Arguments given = parse_arguments("skymm data build negatives", flags, arguments, 0);
  if (given.help) {
    std::printf(
        "skymm data build negatives --data SET --out SET [--vocabulary FILE]\n\n"
        "Asks about what is in each picture, and as often about what is not: an absent thing (drawn evenly, by how\n"
        "often it occurs, and by how often it stands beside what is there), a wrong colour, number or place.\n\n%s",
        flags_help(flags).c_str());
    return 0;
  }
  NegativesOptions options;
  options.input = given.required("data");
  options.output = given.required("out");
  if (given.find("vocabulary")) options.vocabulary = read_vocabulary(given.required("vocabulary"));
  const std::string languages = given.get("languages", as_text, std::string("both"));
  if (languages != "en" && languages != "zh" && languages != "both") {
    fail_usage("--languages: '{}' is neither en, zh nor both", languages);
  }
  options.english = languages != "zh";
  options.chinese = languages != "en";
  options.pairs = static_cast<int>(given.get("pairs", parse_positive, std::int64_t{3}));
  options.seed = given.get("seed", parse_unsigned, std::uint64_t{1});
  const NegativesResult result = build_negatives(options);
  std::printf("%s: %lld samples of %lld pictures; %lld pictures show nothing known\n", options.output.c_str(),
              static_cast<long long>(result.samples), static_cast<long long>(result.pictures),
              static_cast<long long>(result.without_objects));
  for (const auto& [kind, count] : result.turns) {
    std::printf("  %-24s%10lld\n", kind.c_str(), static_cast<long long>(count));
  }
  return 0;
}

int translate_command(const Words& arguments) {
  const std::vector<Flag> flags = {
      {"data", "SET", "the set to be copied"},
      {"translations", "FILE",
       "JSON lines {\"id\", \"texts\": [...]}, or a .csv or .tsv with the columns source and translation"},
      {"out", "SET", "the copy: FILE.h5, or FILE.json for one in shards"},
      {"to", "en|zh", "its language; default zh"},
  };
  const Arguments given = parse_arguments("skymm data translate", flags, arguments, 0);
  if (given.help) {
    std::printf(
        "skymm data translate --data SET --translations FILE --out SET\n\n"
        "Makes a set's copy in the other language of translations that exist; each sample names the one that it is\n"
        "the translation of. Samples without a whole translation are left out and counted.\n\n%s",
        flags_help(flags).c_str());
    return 0;
  }
  const std::string to = given.get("to", as_text, std::string("zh"));
  if (to != "en" && to != "zh") fail_usage("--to: '{}' is neither en nor zh", to);
  const TranslateResult result =
      translate_dataset(given.required("data"), given.required("translations"), given.required("out"),
                        to == "zh" ? Language::chinese : Language::english);
  std::printf("%s: %lld samples; %lld without a whole translation\n", given.required("out").c_str(),
              static_cast<long long>(result.translated), static_cast<long long>(result.without_translation));
  return 0;
}

}  // namespace skymm
