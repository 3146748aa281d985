#include "io/dataset_format.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr const char* polarity_names[] = {"", "positive", "negative"};

json encode_part(const Part& part, const Sample& sample) {
  json entry;
  switch (part.kind) {
    case Part::Kind::text:
      entry["text"] = part.text;
      break;
    case Part::Kind::image:
      check(part.image >= 0 && part.image < static_cast<int>(sample.images.size()),
            "sample {}: a part names picture {}, but the sample has {}", sample.id, part.image, sample.images.size());
      entry["image"] = part.image;
      break;
    case Part::Kind::answer:
      entry["answer"] = part.text;
      if (!part.task.empty()) entry["task"] = part.task;
      if (part.polarity != Polarity::none) entry["polarity"] = polarity_names[static_cast<int>(part.polarity)];
      break;
  }
  return entry;
}

Part decode_part(const json& entry) {
  if (auto text = entry.find("text"); text != entry.end()) return text_part(text->get<std::string>());
  if (auto image = entry.find("image"); image != entry.end()) return image_part(image->get<int>());
  Polarity polarity = Polarity::none;
  const std::string name = entry.value("polarity", "");
  for (int i = 0; i < 3; ++i)
    if (name == polarity_names[i]) polarity = static_cast<Polarity>(i);
  return answer_part(entry.at("answer").get<std::string>(), entry.value("task", ""), polarity);
}

}  // namespace

std::string encode_conversation(const Sample& sample) {
  json parts = json::array();
  for (const Part& part : sample.parts) parts.push_back(encode_part(part, sample));
  json record = {{"id", sample.id}, {"parts", std::move(parts)}};
  if (!sample.annotations.empty()) record["annotations"] = sample.annotations;
  try {
    return record.dump();
  } catch (const json::exception& error) {
    fail("sample {}: its text is not valid UTF-8 ({})", sample.id, error.what());
  }
}

void decode_conversation(std::string_view text, Sample& sample) {
  const json record = json::parse(text);
  sample.id = record.at("id");
  sample.parts.clear();
  for (const json& part : record.at("parts")) sample.parts.push_back(decode_part(part));
  sample.annotations = record.value("annotations", "");
}

}  // namespace skymm
