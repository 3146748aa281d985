#include "io/import/entries.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace skymm {
namespace {

using nlohmann::json;

constexpr std::string_view image_tag = "<image>";

std::string_view without_spaces(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

int count_tags(std::string_view text) {
  int count = 0;
  for (std::size_t at = 0; (at = text.find(image_tag, at)) != std::string_view::npos; at += image_tag.size()) ++count;
  return count;
}

// Text and pictures of a human's turn, in their order; what stands around a tag is trimmed, as the template sets it
// off.
void add_question(std::string_view value, int& next_image, std::vector<Part>& parts) {
  while (true) {
    const std::size_t tag = value.find(image_tag);
    const std::string_view text = without_spaces(value.substr(0, tag));
    if (!text.empty()) parts.push_back(text_part(std::string(text)));
    if (tag == std::string_view::npos) return;
    parts.push_back(image_part(next_image++));
    value.remove_prefix(tag + image_tag.size());
  }
}

// The names of an entry's pictures. False where "image" is something else.
bool image_names(const json& entry, std::vector<std::string>& names) {
  const json* image = member(entry, {"image", "images"});
  if (image == nullptr || image->is_null()) return true;
  if (image->is_string()) {
    names.push_back(image->get<std::string>());
    return true;
  }
  if (!image->is_array()) return false;
  for (const json& name : *image) {
    if (!name.is_string()) return false;
    names.push_back(name.get<std::string>());
  }
  return true;
}

bool is_human(const std::string& speaker) { return speaker == "human" || speaker == "user"; }
bool is_model(const std::string& speaker) { return speaker == "gpt" || speaker == "assistant"; }

// "" or what is wrong with the turns.
std::string add_turns(const json& turns, std::vector<Part>& parts, int& tags) {
  if (!turns.is_array()) return "\"conversations\" is no list";
  bool asked = false;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const json* from = member(turns[i], {"from", "role"});
    const json* value = member(turns[i], {"value", "content"});
    if (!from || !value || !from->is_string() || !value->is_string()) return fmt::format("turn {} lacks its text", i);
    const auto& speaker = from->get_ref<const std::string&>();
    const auto& text = value->get_ref<const std::string&>();
    if (is_human(speaker) && !asked) {
      add_question(text, tags, parts);
      asked = true;
    } else if (is_model(speaker) && asked) {
      if (count_tags(text) > 0) return fmt::format("turn {} is an answer with {}", i, image_tag);
      parts.push_back(answer_part(std::string(without_spaces(text))));
      asked = false;
    } else {
      return fmt::format("turn {} is by '{}'; human and gpt take turns, human first", i, speaker.substr(0, 40));
    }
  }
  return "";
}

}  // namespace

std::string text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_number() || value.is_boolean() ? value.dump() : std::string();
}

const json* member(const json& entry, const std::vector<std::string>& names) {
  if (!entry.is_object()) return nullptr;
  for (const std::string& name : names) {
    if (const auto found = entry.find(name); found != entry.end()) return &*found;
  }
  return nullptr;
}

std::vector<std::string> names_or(const std::string& given, std::vector<std::string> usual) {
  if (given.empty()) return usual;
  return {given};
}

void fill_llava(const json& entry, int brought, Record& record) {
  const json* turns = member(entry, {"conversations", "messages"});
  if (turns == nullptr) return record.refuse(Reject::malformed, "it has no \"conversations\"");
  if (const json* id = member(entry, {"id"})) record.sample.id = text_of(*id);
  keep_annotations(entry, record);
  if (brought == 0 && !image_names(entry, record.image_paths)) {
    return record.refuse(Reject::malformed, "\"image\" is neither a name nor a list of names");
  }
  int tags = 0;
  const std::string problem = add_turns(*turns, record.sample.parts, tags);
  if (!problem.empty()) return record.refuse(Reject::malformed, problem);
  const std::size_t pictures = brought > 0 ? static_cast<std::size_t>(brought) : record.image_paths.size();
  if (static_cast<std::size_t>(tags) != pictures) {
    record.refuse(Reject::image_count, fmt::format("{} pictures, but <image> {} times", pictures, tags));
  }
}

void keep_annotations(const json& entry, Record& record) {
  const json* given = member(entry, {"annotations"});
  json parsed;
  if (given && given->is_string()) {  // as in the sets that we write
    parsed = json::parse(given->get_ref<const std::string&>(), nullptr, false);
    given = &parsed;
  }
  json kept = given && given->is_object() ? *given : json::object();
  for (const char* name : {"objects", "tags"}) {
    const json* list = member(entry, {name});
    if (list && list->is_array()) kept[name] = *list;
  }
  if (!kept.empty()) record.sample.annotations = kept.dump();
}

void fill_pair(std::string question, std::string answer, Record& record) {
  record.sample.parts.push_back(image_part(0));
  if (!question.empty()) record.sample.parts.push_back(text_part(std::move(question)));
  record.sample.parts.push_back(answer_part(std::move(answer), record.sample.parts.size() == 1 ? "caption" : ""));
}

void fill_lrv(const json& entry, Record& record) {
  const json* image = member(entry, {"image_id", "image"});
  const json* question = member(entry, {"question"});
  const json* answer = member(entry, {"answer"});
  if (!image || !question || !answer || !question->is_string() || !answer->is_string()) {
    return record.refuse(Reject::malformed, "it lacks image_id, question or answer");
  }
  std::string name = text_of(*image);
  if (name.empty()) return record.refuse(Reject::malformed, "image_id is no name");
  record.sample.id = name;
  if (name.find('.') == std::string::npos) name += ".jpg";  // Visual Genome's numbers
  record.image_paths.push_back(std::move(name));
  fill_pair(question->get<std::string>(), std::string(without_spaces(answer->get_ref<const std::string&>())), record);
  const json* task = member(entry, {"task"});
  const std::string kind = task ? text_of(*task) : "";
  record.sample.parts.back().task = kind;
  record.sample.parts.back().polarity = kind == "negative" ? Polarity::negative : Polarity::positive;
}

void fill_pope(const json& entry, Record& record) {
  const json* image = member(entry, {"image"});
  const json* text = member(entry, {"text"});
  const json* label = member(entry, {"label"});
  if (!image || !text || !label || !image->is_string() || !text->is_string()) {
    return record.refuse(Reject::malformed, "it lacks image, text or label");
  }
  const std::string answer = text_of(*label);
  if (answer != "yes" && answer != "no") {
    return record.refuse(Reject::malformed, "its label is neither yes nor no");
  }
  if (const json* id = member(entry, {"question_id"})) record.sample.id = text_of(*id);
  record.image_paths.push_back(image->get<std::string>());
  fill_pair(text->get<std::string>(), answer, record);
  record.sample.parts.back().task = "existence";
  record.sample.parts.back().polarity = answer == "yes" ? Polarity::positive : Polarity::negative;
}

void fill_line(const json& entry, const ColumnNames& columns, Record& record) {
  if (!entry.is_object()) return record.refuse(Reject::malformed, "it is no JSON object");
  if (member(entry, {"conversations", "messages"})) return fill_llava(entry, 0, record);
  const json* image = member(entry, names_or(columns.image, {"image", "image_path", "file_name", "file", "path"}));
  const json* question = member(entry, names_or(columns.question, {"question", "instruction"}));
  const json* answer = member(entry, question ? names_or(columns.answer, {"answer", "output"})
                                              : names_or(columns.caption, {"caption", "text", "title"}));
  if (!image || !answer || !image->is_string() || !answer->is_string() || (question && !question->is_string())) {
    return record.refuse(Reject::malformed, "it lacks a picture's name, or a caption, or a question and its answer");
  }
  if (const json* id = member(entry, names_or(columns.id, {"id"}))) record.sample.id = text_of(*id);
  keep_annotations(entry, record);
  record.image_paths.push_back(image->get<std::string>());
  fill_pair(question ? question->get<std::string>() : "",
            std::string(without_spaces(answer->get_ref<const std::string&>())), record);
}

}  // namespace skymm
