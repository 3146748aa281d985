#include "io/derive/translate.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <vector>

#include "core/error.hpp"
#include "io/byte_stream.hpp"
#include "io/dataset.hpp"
#include "io/derive/annotation.hpp"
#include "io/table.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

struct Translations {
  std::unordered_map<std::string, Texts> by_id;
  std::unordered_map<std::string, std::string> by_text;

  // Of the sample's texts and answers, or nothing.
  Texts of(const Sample& sample) const {
    Texts sources, found;
    for (const Part& part : sample.parts) {
      if (part.kind != Part::Kind::image) sources.push_back(part.text);
    }
    if (const auto texts = by_id.find(sample.id); texts != by_id.end()) {
      return texts->second.size() == sources.size() ? texts->second : Texts();
    }
    for (const std::string& source : sources) {
      const auto text = by_text.find(source);
      if (text == by_text.end()) return {};
      found.push_back(text->second);
    }
    return found;
  }
};

void read_lines(const std::string& path, Translations& all) {
  ByteStream file(path);
  std::string line;
  for (std::int64_t number = 1; file.line(line, std::size_t{64} << 20); ++number) {
    if (is_blank(line)) continue;
    const json entry = json::parse(line, nullptr, false);
    try {
      const auto id = entry.at("id").get<std::string>();
      check(all.by_id.emplace(id, entry.at("texts").get<Texts>()).second, "{}:{}: the id '{}' comes twice", path,
            number, id);
    } catch (const json::exception&) {
      fail("{}:{}: not a line {{\"id\": \"...\", \"texts\": [\"...\"]}}", path, number);
    }
  }
}

void read_table(const std::string& path, Translations& all) {
  TableReader table(path);
  const int source = table.column({"source"}), translation = table.column({"translation"});
  check(source >= 0 && translation >= 0, "{} needs the columns source and translation", path);
  for (Texts row; table.row(row);) {
    check(row.size() == table.columns().size(), "{}:{}: {} fields instead of {}", path, table.line(), row.size(),
          table.columns().size());
    all.by_text[row[static_cast<std::size_t>(source)]] = row[static_cast<std::size_t>(translation)];
  }
}

Sample translated(Sample sample, Texts texts, Language to) {
  sample.annotations = annotated(sample.annotations, "translation_of", sample.id);
  sample.id += to == Language::chinese ? "-zh" : "-en";
  sample.language = to;
  auto text = texts.begin();
  for (Part& part : sample.parts) {
    if (part.kind != Part::Kind::image) part.text = std::move(*text++);
  }
  return sample;
}

}  // namespace

TranslateResult translate_dataset(const std::string& input, const std::string& translations, const std::string& output,
                                  Language to) {
  Translations all;
  if (translations.ends_with(".csv") || translations.ends_with(".tsv")) {
    read_table(translations, all);
  } else {
    read_lines(translations, all);
  }
  const Dataset from(input);
  const json provenance = {{"made_by", "skymm data translate"},
                           {"input", input},
                           {"translations", translations},
                           {"input_provenance", json::parse(from.provenance())}};
  DatasetWriter writer(output, provenance.dump());
  TranslateResult result;
  std::set<std::string> seen;  // of the ids that have translations
  for (std::int64_t i = 0; i < from.size(); ++i) {
    const Sample sample = from.read(i, false);
    check(!all.by_id.contains(sample.id) || seen.insert(sample.id).second,
          "{}: several samples have the id '{}': translate it by text, from a table of source and translation", input,
          sample.id);
    Texts texts = all.of(sample);
    const bool whole =
        !texts.empty() && std::ranges::none_of(texts, [](const std::string& text) { return is_blank(text); });
    if (sample.language == to || !whole) {
      ++result.without_translation;
      continue;
    }
    writer.add(translated(from.read(i), std::move(texts), to));
    ++result.translated;
  }
  writer.close();
  return result;
}

}  // namespace skymm
