#include "launch/evaluation/caption_names.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "launch/evaluation/generation.hpp"

namespace skymm {

std::vector<std::string> names_in_caption(const std::string& caption, Language language) {
  const bool chinese = language == Language::chinese;
  const std::string colon = chinese ? "：" : ": ", stop = chinese ? "。" : ".";
  std::vector<std::string> names;
  for (std::size_t at = caption.find(colon); at != std::string::npos; at = caption.find(colon, at)) {
    at += colon.size();
    const std::size_t end = std::min(caption.find(stop, at), caption.size());
    const std::string name = caption.substr(at, end - at);
    if (!name.starts_with("text ") && !name.starts_with("文字")) names.push_back(name);
    at = end;
  }
  return names;
}

CaptionNames caption_names(Run& run, const std::vector<Sample>& samples, Language language) {
  std::vector<Sample> asked;
  for (const Sample& sample : samples) {
    if (sample.language == language) asked.push_back(sample);
  }
  const PromptBuilder prompts = run.assembly.prompts(run.config);
  const std::vector<std::string> captions =
      generate(*run.assembly.model, prompts, run.assembly.images, asked, {.max_tokens = 48, .batch_size = 64});
  CaptionNames result;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto answer = std::ranges::find(asked[i].parts, Part::Kind::answer, &Part::kind);
    check(answer != asked[i].parts.end(), "sample {} has no caption to compare with", asked[i].id);
    std::vector<std::string> truth = names_in_caption(answer->text, language);
    result.present += static_cast<std::int64_t>(truth.size());
    for (const std::string& name : names_in_caption(captions[i], language)) {
      ++result.named;
      if (const auto found = std::ranges::find(truth, name); found != truth.end()) {
        ++result.right;
        truth.erase(found);
      }
    }
  }
  return result;
}

}  // namespace skymm
