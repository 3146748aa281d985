#include "io/derive/scene_facts.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace skymm {
namespace {

using nlohmann::json;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

// A whole word of the text, or its plural with s or es.
bool has_word(const std::string& text, const std::string& word) {
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    std::size_t end = at + word.size();
    if (text.compare(end, 2, "es") == 0 && (end + 2 == text.size() || !is_letter(text[end + 2]))) end += 2;
    if (end < text.size() && text[end] == 's') ++end;
    if ((at == 0 || !is_letter(text[at - 1])) && (end >= text.size() || !is_letter(text[end]))) return true;
  }
  return false;
}

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<std::array<double, 4>> box_of(const json& object) {
  std::array<double, 4> box{};
  constexpr const char* names[] = {"x", "y", "w", "h"};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto found = object.find(names[i]);
    if (found == object.end() || !found->is_number()) return std::nullopt;
    box[i] = found->get<double>();
  }
  return box;
}

}  // namespace

int SceneFacts::count(int thing) const {
  return static_cast<int>(std::ranges::count(objects, thing, &KnownObject::thing));
}

Vocabulary::Vocabulary(const std::vector<ObjectName>& names) {
  for (const ObjectName& name : names) add(name);
  searched_ = size();
}

int Vocabulary::add(const ObjectName& name) {
  const auto [place, fresh] = by_name_.emplace(name.english.empty() ? name.chinese : name.english, size());
  if (fresh) names_.push_back(name);
  return place->second;
}

void Vocabulary::find_in(const std::string& text, SceneFacts& facts) const {
  const std::string lowered = lower(text);
  for (int thing = 0; thing < searched_; ++thing) {
    const ObjectName& name = this->name(thing);
    const bool there = (!name.english.empty() && has_word(lowered, lower(name.english))) ||
                       (!name.chinese.empty() && text.find(name.chinese) != std::string::npos);
    if (there && facts.count(thing) == 0) facts.objects.push_back({.thing = thing});
  }
}

SceneFacts Vocabulary::facts_of(const Sample& sample) {
  SceneFacts facts;
  const json annotations = sample.annotations.empty() ? json() : json::parse(sample.annotations, nullptr, false);
  if (annotations.is_object() && annotations.contains("objects") && annotations.at("objects").is_array()) {
    facts.complete = true;
    for (const json& object : annotations.at("objects")) {
      if (!object.is_object()) continue;
      ObjectName name{text_at(object, "name_en"), text_at(object, "name_zh")};
      if (name.english.empty()) name.english = text_at(object, "name");
      if (name.english.empty() && name.chinese.empty()) continue;
      facts.objects.push_back({.thing = add(name), .colour = text_at(object, "color"), .box = box_of(object)});
    }
  } else if (annotations.is_object() && annotations.contains("tags") && annotations.at("tags").is_array()) {
    for (const json& tag : annotations.at("tags")) {
      if (!tag.is_string()) continue;
      const int thing = add({tag.get<std::string>(), ""});
      if (facts.count(thing) == 0) facts.objects.push_back({.thing = thing});
    }
  } else {
    for (const Part& part : sample.parts) {
      // A question names what may not be there.
      if (part.kind == Part::Kind::answer && part.polarity != Polarity::negative) find_in(part.text, facts);
    }
  }
  return facts;
}

void Occurrence::add(const SceneFacts& facts) {
  std::set<int> things;
  for (const KnownObject& object : facts.objects) things.insert(object.thing);
  for (const int thing : things) {
    ++alone_[thing];
    for (const int other : things) {
      if (other != thing) ++beside_[thing][other];
    }
  }
}

std::optional<int> Occurrence::absent(const SceneFacts& facts, int how, RandomStream& random) const {
  std::map<int, std::int64_t> weights;
  if (how == 2) {
    for (const KnownObject& object : facts.objects) {
      const auto beside = beside_.find(object.thing);
      if (beside == beside_.end()) continue;
      for (const auto& [other, count] : beside->second) weights[other] += count;
    }
  } else {
    for (const auto& [thing, count] : alone_) weights[thing] = how == 0 ? 1 : count;
  }
  std::int64_t total = 0;
  std::erase_if(weights, [&](const auto& entry) { return facts.count(entry.first) > 0; });
  for (const auto& [thing, weight] : weights) total += weight;
  if (total == 0) return how == 0 ? std::nullopt : absent(facts, 0, random);
  auto draw = static_cast<std::int64_t>((std::uint64_t{random.next()} << 32 | random.next()) %
                                        static_cast<std::uint64_t>(total));
  for (const auto& [thing, weight] : weights) {
    if ((draw -= weight) < 0) return thing;
  }
  return std::nullopt;
}

}  // namespace skymm
