#include "io/derive/scene_facts.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace skymm {
namespace {

using nlohmann::json;

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

std::string text_at(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_ascii(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool has_question(const std::string& text) {
  return text.find('?') != std::string::npos || text.find("？") != std::string::npos;
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

Vocabulary::Vocabulary(const std::vector<ObjectName>& names) : texts_({}) {
  for (const ObjectName& name : names) add(name);
  texts_ = MentionFinder(names_);
}

int Vocabulary::add(const ObjectName& name) {
  const std::string english = lower(name.english);
  const auto by_english = by_name_.find(english), by_chinese = by_name_.find(name.chinese);
  int thing = size();
  if (!english.empty() && by_english != by_name_.end()) {
    thing = by_english->second;
  } else if (!name.chinese.empty() && by_chinese != by_name_.end() &&
             (english.empty() || this->name(by_chinese->second).english.empty())) {
    thing = by_chinese->second;  // two English names that share a Chinese one stay two things
  }
  if (thing == size()) names_.emplace_back();
  ObjectName& known = names_[static_cast<std::size_t>(thing)];
  if (known.english.empty()) known.english = name.english;
  if (known.chinese.empty()) known.chinese = name.chinese;
  by_name_.emplace(english, thing);
  by_name_.emplace(name.chinese, thing);
  return thing;
}

void SceneReader::add(const Sample& sample) {
  const bool alone = sample.images.size() == 1;
  const json annotations = sample.annotations.empty() ? json() : json::parse(sample.annotations, nullptr, false);
  const auto list = [&](const char* name) -> const json* {
    if (!alone || !annotations.is_object()) return nullptr;
    const auto found = annotations.find(name);
    return found != annotations.end() && found->is_array() ? &*found : nullptr;
  };
  if (const json* objects = list("objects")) add_objects(objects->dump());
  if (const json* tags = list("tags")) {
    for (const json& tag : *tags) {
      if (!tag.is_string() || tag.get_ref<const std::string&>().empty()) continue;
      const auto& name = tag.get_ref<const std::string&>();
      const int thing = vocabulary_.add(is_ascii(name) ? ObjectName{name, ""} : ObjectName{"", name});
      told_[thing].there = true;
    }
  }
  bool asked = false;
  for (const Part& part : sample.parts) {
    if (part.kind == Part::Kind::text) {
      // A question names what may not be there.
      add_text(part.text, false, false);
      asked = asked || has_question(part.text);
    } else if (part.kind == Part::Kind::answer) {
      // An answer's numbers and colours are about what was asked, which may be a part of the picture.
      add_text(part.text, alone && part.polarity != Polarity::negative, !asked);
      asked = false;
    }
  }
}

void SceneReader::add_objects(const std::string& list) {
  if (list == objects_) return;
  lists_differ_ = !objects_.empty();
  if (objects_.empty()) objects_ = list;
  for (const json& object : json::parse(list)) {
    if (!object.is_object()) continue;
    ObjectName name{text_at(object, "name_en"), text_at(object, "name_zh")};
    if (name.english.empty()) name.english = text_at(object, "name");
    if (name.english.empty() && name.chinese.empty()) continue;
    const int thing = vocabulary_.add(name);
    if (lists_differ_ && std::ranges::find(listed_, thing, &KnownObject::thing) != listed_.end()) continue;
    listed_.push_back({.thing = thing, .colour = text_at(object, "color"), .box = box_of(object)});
  }
}

// certain: what the text says is there is there. plain: its colours and numbers are the picture's.
void SceneReader::add_text(const std::string& text, bool certain, bool plain) {
  colours_.merge(colours_named(text));
  std::map<int, int> introduced;
  for (const Mention& mention : vocabulary_.texts().find(text)) {
    Told& told = told_[mention.thing];
    if (!certain) continue;
    told.there = told.there || mention.there;
    const bool again = mention.introduces && ++introduced[mention.thing] > 1;
    told.as_one = told.as_one && plain && !again && mention.as_one;
    told.as_several = told.as_several && plain && !again && mention.as_several;
    if (!mention.colour.empty()) {
      told.as_one = told.as_one && (told.colour.empty() || told.colour == mention.colour);
      told.colour = mention.colour;
    }
    if (mention.number > 0) {
      told.as_several = told.as_several && (told.number == 0 || told.number == mention.number);
      told.number = mention.number;
    }
  }
}

SceneFacts SceneReader::facts() const {
  SceneFacts facts;
  facts.complete = !objects_.empty() && !lists_differ_;
  if (facts.complete) facts.objects = listed_;
  std::set<int> there;  // that is listed only as being there
  for (const KnownObject& object : listed_) {
    if (!facts.complete) there.insert(object.thing);
  }
  for (const auto& [thing, told] : told_) {
    facts.named.insert(thing);
    if (told.there && !facts.complete) there.insert(thing);
  }
  for (const int thing : there) {
    const auto told = told_.find(thing);
    KnownObject object{.thing = thing};
    if (told != told_.end() && told->second.as_one) object.colour = told->second.colour;
    if (told != told_.end() && told->second.as_several) object.number = told->second.number;
    facts.objects.push_back(std::move(object));
  }
  if (!facts.complete) facts.colours = colours_;
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
  std::erase_if(weights, [&](const auto& entry) { return facts.may_hold(entry.first); });
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
