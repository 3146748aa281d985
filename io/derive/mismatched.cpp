#include "io/derive/mismatched.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <vector>

#include "core/error.hpp"
#include "core/random.hpp"
#include "io/dataset.hpp"
#include "io/derive/annotation.hpp"
#include "io/sampler.hpp"

namespace skymm {
namespace {

// Samples with the same one can have each other's parts.
std::string form_of(const Sample& sample) {
  std::string form(1, static_cast<char>(sample.language));
  for (const Part& part : sample.parts) {
    form += static_cast<char>(part.kind);
    if (part.kind == Part::Kind::image) form += std::to_string(part.image);
  }
  return form;
}

// Of every sample, the one whose text it gets.
std::vector<std::int64_t> deal_texts(const Dataset& from, const MismatchedOptions& options) {
  std::vector<std::int64_t> text_of(static_cast<std::size_t>(from.size()));
  std::iota(text_of.begin(), text_of.end(), std::int64_t{0});
  std::map<std::string, std::vector<std::int64_t>> forms;
  RandomStream chance(options.seed);
  for (std::int64_t i = 0; i < from.size(); ++i) {
    if (chance.uniform() < options.share) forms[form_of(from.read(i, false))].push_back(i);
  }
  for (const auto& [form, samples] : forms) {
    const Permutation order(std::ssize(samples), options.seed);
    const auto at = [&](std::int64_t i) { return samples[static_cast<std::size_t>(order(i % order.size()))]; };
    for (std::int64_t i = 0; i < order.size(); ++i) text_of[static_cast<std::size_t>(at(i))] = at(i + 1);
  }
  return text_of;
}

}  // namespace

MismatchedResult build_mismatched(const MismatchedOptions& options) {
  check(options.share >= 0 && options.share <= 1, "the share of mismatched samples is {}; it lies in [0, 1]",
        options.share);
  const Dataset from(options.input);
  const nlohmann::json provenance = {{"made_by", "skymm data build mismatched"},
                                     {"input", options.input},
                                     {"share", options.share},
                                     {"seed", options.seed},
                                     {"input_provenance", nlohmann::json::parse(from.provenance())}};
  const std::vector<std::int64_t> text_of = deal_texts(from, options);
  DatasetWriter writer(options.output, provenance.dump());
  MismatchedResult result;
  for (std::int64_t i = 0; i < from.size(); ++i) {
    Sample sample = from.read(i);
    if (const std::int64_t other = text_of[static_cast<std::size_t>(i)]; other != i) {
      Sample giver = from.read(other, false);
      sample.parts = std::move(giver.parts);
      sample.annotations = annotated(sample.annotations, "text_of", giver.id);
      ++result.mismatched;
    }
    writer.add(sample);
  }
  writer.close();
  result.samples = from.size();
  return result;
}

}  // namespace skymm
