#include "support/scene_truth.hpp"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "io/picturebook/scene.hpp"

namespace skymm::testing {
namespace {

using nlohmann::json;

const Concept* concept_named(const std::string& name) {
  for (const Concept& c : concepts())
    if (c.name_en == name || c.name_zh == name) return &c;
  return nullptr;
}

int number(const std::string& word) {
  static const std::map<std::string, int> words = {{"one", 1}, {"two", 2}, {"three", 3}, {"four", 4},
                                                   {"一", 1},  {"两", 2},  {"三", 3},    {"四", 4}};
  return words.at(word);
}

std::string english_color(const std::string& name) {
  for (const Colour& c : colours)
    if (name == c.zh || name == c.en) return std::string(c.en);
  return "";
}

// Colour and shape apart: "red circle", "红色圆形", "red 圆形", or a plain name.
std::pair<std::string, std::string> parted(const std::string& name) {
  for (const Colour& c : colours)
    for (const std::string_view colour : {c.en, c.zh})
      if (name.starts_with(colour) && name.size() > colour.size()) {
        std::string rest = name.substr(colour.size());
        if (rest[0] == ' ') rest.erase(0, 1);
        return {std::string(c.en), rest};
      }
  return {"", name};
}

// A question's text against a pattern in each language.
class Match {
 public:
  explicit Match(const std::string& question) : question_(question) {}
  bool is(const std::string& english, const std::string& chinese) {
    return std::regex_match(question_, match_, compiled(english)) ||
           std::regex_match(question_, match_, compiled(chinese));
  }
  std::string operator[](std::size_t i) const { return match_[i]; }

 private:
  static const std::regex& compiled(const std::string& pattern) {
    static std::map<std::string, std::regex> all;
    const auto found = all.find(pattern);
    return found != all.end() ? found->second : all.emplace(pattern, pattern).first->second;
  }

  const std::string& question_;
  std::smatch match_;
};

}  // namespace

SceneTruth::SceneTruth(const std::string& annotations) {
  const json truth = json::parse(annotations);
  for (const json& o : truth["objects"])
    seen_.push_back({o["name_en"], o["name_zh"], o.value("color", ""), o["x"], o["y"], o["w"], o["h"]});
  if (!truth["text"].is_null()) text_ = truth["text"]["text"];
}

bool SceneTruth::holds(const std::string& question) const {
  Match m(question);
  const std::string en = " Please answer yes or no\\.", zh = "请回答是或否。";
  const auto either = [&](const std::string& english, const std::string& chinese) {
    return m.is(english + en, chinese + zh);
  };
  if (either("(?:Do you see|Are there|Is there) (one|two|three|four) (.*?)(?: in the picture)\\?",
             "(?:图里有|能看到)(一|两|三|四)个(.*)吗？"))
    return count(m[2]) == number(m[1]);
  if (either("(?:Does the picture say|Is the text in the picture) \"(.*)\"\\?", "(?:图中的文字是|图中写着)“(.*)”吗？"))
    return text_ == m[1];
  if (either("(?:Is the answer to|Does) the sum in the picture(?: make)? (\\d+)\\?",
             "图中算式(?:的答案是|等于)(\\d+)吗？"))
    return sum() == std::stoi(m[1]);
  if (either("Does the (?:Chinese|English) word in the picture mean \"(.*)\"\\?",
             "图中(?:汉字的英文|英文的意思)是“(.*)”吗？") ||
      either("Is \"(.*)\" the (?:English|Chinese) for the word in the picture\\?",
             "“(.*)”是图中(?:汉字的英文|英文的意思)吗？"))
    return translates(m[1]);
  if (either("Is the (.*) (left of|right of|above|below) the (.*)\\?", "(.*)在(.*)的(左边|右边|上面|下面)吗？")) {
    const bool chinese = question.ends_with(zh);
    return related(find(m[1]), find(chinese ? m[2] : m[3]), chinese ? m[3] : m[2]);
  }
  if (either("Is the (.*) between the (.*) and the (.*)\\?", "(.*)在(.*)与(.*)之间吗？"))
    return between(find(m[1]), find(m[2]), find(m[3]));
  if (either("Is the (.*) in the (.*) quarter of the picture\\?", "(.*)在图片的(.*)四分之一区域里吗？"))
    return in_quarter(find(m[1]), m[2]);
  if (either("Is there something (.*) in the picture\\?", "图里有(.*)东西吗？")) return property(m[1]);
  if (either("Is there (.*) in the picture\\?", "图里有(.*)吗？")) return there_is(m[1]);
  if (either("Is the (circle|square|triangle) (.*)\\?", "(圆形|方形|三角形)是(.*)的吗？"))
    return find(english_color(m[2]) + " " + m[1]) != nullptr;
  ADD_FAILURE() << "a question of no known form: " << question;
  return false;
}

std::vector<std::string> SceneTruth::right(const std::string& question, const std::vector<std::string>& options) const {
  std::vector<std::string> right;
  for (const std::string& option : options)
    if (answers(question, option, options)) right.push_back(option);
  return right;
}

bool SceneTruth::answers(const std::string& question, const std::string& option,
                         const std::vector<std::string>& options) const {
  Match m(question), phrase(option);
  if (m.is("Which of these is in the picture\\?", "下面哪一样在图里？"))
    return phrase.is("something (.*)", "(.*)东西") ? property(phrase[1]) : there_is(option);
  if (m.is("What kind of thing is in the picture\\?", "图里有哪一类东西？")) return there_is(option);
  if (m.is("How many (.*) are there in the picture\\?", "图里有几个(.*)？")) return count(m[1]) == number(option);
  if (m.is("What color is the (.*)\\?", "(.*)是什么颜色？")) return find(english_color(option) + " " + m[1]) != nullptr;
  if (m.is("What is the text in the picture\\?", "图中的文字是什么？")) return text_ == option;
  if (m.is("What is the answer to the sum in the picture\\?", "图中算式的答案是多少？"))
    return sum() == std::stoi(option);
  if (m.is("What does the Chinese word in the picture mean\\?|What is the word in the picture in Chinese\\?",
           "图中汉字的英文是什么？|图中英文的意思是什么？"))
    return translates(option);
  if (m.is("Is the (.*) to the left or to the right of the (.*)\\?", "(.*)在(.*)的左边还是右边？"))
    return related(find(m[1]), find(m[2]), option.size() < 6 ? option + " of" : option);
  if (m.is("Is the (.*) above or below the (.*)\\?", "(.*)在(.*)的上面还是下面？"))
    return related(find(m[1]), find(m[2]), option);
  if (m.is("In which quarter of the picture is the (.*)\\?", "(.*)在图片的哪个四分之一区域里？"))
    return in_quarter(find(m[1]), option);
  if (m.is("Which of these is between the other two\\?", "下面哪一样在另外两样之间？")) {
    std::vector<const Seen*> others;
    for (const std::string& other : options)
      if (other != option) others.push_back(find(other));
    return others.size() == 2 && between(find(option), others[0], others[1]);
  }
  ADD_FAILURE() << "a multiple-choice question of no known form: " << question;
  return false;
}

bool SceneTruth::matches(const Seen& s, const std::string& name) const {
  const auto [color, rest] = parted(name);
  return (color.empty() || color == s.color) && (rest == s.concept_en || rest == s.concept_zh);
}

const SceneTruth::Seen* SceneTruth::find(const std::string& name) const {
  for (const Seen& s : seen_)
    if (matches(s, name)) return &s;
  return nullptr;
}

int SceneTruth::count(const std::string& name) const {
  int n = 0;
  for (const Seen& s : seen_) n += matches(s, name) || plural(s.concept_en) == name;
  return n;
}

bool SceneTruth::there_is(std::string name) const {
  for (std::size_t c = 0; c < category_phrases.size(); ++c)
    if (name == category_phrases[c].en || name == category_phrases[c].zh)
      return any_concept([&](const Concept& it) { return static_cast<std::size_t>(it.category) == c; });
  name = std::regex_replace(name, std::regex("^an? "), "");
  return find(name) != nullptr;
}

bool SceneTruth::property(const std::string& phrase) const {
  for (std::size_t p = 0; p < property_phrases.size(); ++p)
    if (phrase == property_phrases[p].en || phrase == property_phrases[p].zh)
      return any_concept([&](const Concept& it) { return (it.properties >> p & 1) != 0; });
  ADD_FAILURE() << "no property: " << phrase;
  return false;
}

template <class Test>
bool SceneTruth::any_concept(Test&& test) const {
  for (const Seen& s : seen_)
    if (const Concept* c = concept_named(s.concept_en); c && test(*c)) return true;
  return false;
}

bool SceneTruth::related(const Seen* a, const Seen* b, const std::string& relation) const {
  if (!a || !b) {
    ADD_FAILURE() << "a relation of things that are not there";
    return false;
  }
  if (relation == "left of" || relation == "左边") return a->centre_x() < b->centre_x();
  if (relation == "right of" || relation == "右边") return a->centre_x() > b->centre_x();
  if (relation == "above" || relation == "上面") return a->centre_y() < b->centre_y();
  return a->centre_y() > b->centre_y();
}

// The angle at the middle one, between the directions of the others, is an obtuse one.
bool SceneTruth::between(const Seen* middle, const Seen* a, const Seen* b) const {
  if (!middle || !a || !b) {
    ADD_FAILURE() << "a row of things that are not there";
    return false;
  }
  const double x = middle->centre_x(), y = middle->centre_y();
  return (a->centre_x() - x) * (b->centre_x() - x) + (a->centre_y() - y) * (b->centre_y() - y) < 0;
}

bool SceneTruth::in_quarter(const Seen* seen, const std::string& quarter) const {
  if (!seen) {
    ADD_FAILURE() << "the place of a thing that is not there";
    return false;
  }
  const auto has = [&](const char* english, const char* chinese) {
    return quarter.find(english) != std::string::npos || quarter.find(chinese) != std::string::npos;
  };
  EXPECT_TRUE(has("left", "左") != has("right", "右") && has("upper", "上") != has("lower", "下")) << quarter;
  const double half = canvas_size / 2.0;
  return (has("left", "左") ? seen->x + seen->w <= half : seen->x >= half) &&
         (has("upper", "上") ? seen->y + seen->h <= half : seen->y >= half);
}

int SceneTruth::sum() const {
  const int a = text_[0] - '0', b = text_[2] - '0';
  return text_[1] == '+' ? a + b : a - b;
}

bool SceneTruth::translates(const std::string& word) const {
  for (const Named& pair : word_pairs())
    if ((pair.en == text_ && pair.zh == word) || (pair.zh == text_ && pair.en == word)) return true;
  return false;
}

}  // namespace skymm::testing
