#include "io/derive/phrases.hpp"

#include <fmt/format.h>

#include <array>
#include <vector>

namespace skymm {
namespace {

// Placeholders: {a} the thing with its article, {s} in the plural, {t} bare; {o} the other thing; {c} the colour asked
// for and {k} the true one; {n} the number asked for and {m} the true one, each with its noun; {w} where.
struct Wordings {
  std::vector<const char*> questions, yes, no;
};

const Wordings& wordings(QuestionKind kind, bool chinese) {
  static const std::array<Wordings, 4> english = {
      {{{"Is there {a} in the picture?", "Can you see {a} here?", "Does this picture show {a}?", "Is {a} visible?"},
        {"Yes.", "Yes, there is {a}.", "Yes, the picture shows {a}."},
        {"No.", "No, there is no {t} in the picture.", "No, the picture does not show {a}."}},
       {{"Is the {t} {c}?", "Is the colour of the {t} {c}?", "Would you call the {t} {c}?"},
        {"Yes.", "Yes, the {t} is {c}.", "Yes, it is {c}."},
        {"No.", "No, the {t} is {k}.", "No, it is not {c} but {k}."}},
       {{"Are there exactly {n} in the picture?", "Does the picture show exactly {n}?",
         "Can you count {n} here, no more and no less?"},
        {"Yes.", "Yes, there are {n}.", "Yes, exactly {n}."},
        {"No.", "No, the picture shows {m}.", "No, I count {m}."}},
       {{"Is the {t} {w} the {o}?", "Does the {t} appear {w} the {o}?",
         "Looking at the picture, is the {t} {w} the {o}?"},
        {"Yes.", "Yes, the {t} is {w} the {o}."},
        {"No.", "No, the {t} is not {w} the {o}."}}}};
  static const std::array<Wordings, 4> chinese_ones = {
      {{{"图片里有{t}吗？", "你能在图中看到{t}吗？", "这张图片中出现了{t}吗？", "图中是否有{t}？"},
        {"有。", "是的，图片里有{t}。", "是的，可以看到{t}。"},
        {"没有。", "没有，图片里没有{t}。", "不，图中看不到{t}。"}},
       {{"{t}是{c}的吗？", "图中的{t}是不是{c}的？", "{t}的颜色是{c}吗？"},
        {"是的。", "是的，{t}是{c}的。", "对，它是{c}的。"},
        {"不是。", "不是，{t}是{k}的。", "不，它不是{c}，而是{k}。"}},
       {{"图中正好有{n}吗？", "图片里是不是正好有{n}？", "数一数，这里正好是{n}吗？"},
        {"是的。", "是的，正好有{n}。", "对，一共{n}。"},
        {"不是。", "不是，图中有{m}。", "不对，一共有{m}。"}},
       {{"{t}在{o}的{w}吗？", "图中{t}是不是在{o}的{w}？", "看图，{t}位于{o}的{w}吗？"},
        {"是的。", "是的，{t}在{o}的{w}。"},
        {"不是。", "不，{t}不在{o}的{w}。"}}}};
  return (chinese ? chinese_ones : english)[static_cast<std::size_t>(kind)];
}

bool is_vowel(char c) { return std::string_view("aeiouAEIOU").find(c) != std::string_view::npos; }

std::string with_article(const std::string& name) { return (!name.empty() && is_vowel(name[0]) ? "an " : "a ") + name; }

std::string counted(int number, const std::string& name, bool chinese) {
  constexpr const char* english_numbers[] = {"no",  "one",   "two",   "three", "four", "five",
                                             "six", "seven", "eight", "nine",  "ten"};
  constexpr const char* chinese_numbers[] = {"零", "一", "两", "三", "四", "五", "六", "七", "八", "九", "十"};
  if (chinese) {
    return fmt::format("{}个{}", number <= 10 ? chinese_numbers[number] : std::to_string(number), name);
  }
  return fmt::format("{} {}", number <= 10 ? english_numbers[number] : std::to_string(number),
                     number == 1 ? name : plural(name));
}

std::string colour_in(const std::string& colour, bool chinese) {
  for (const auto& [en, zh] : colour_words) {
    if (colour == en) return chinese ? zh : en;
  }
  return colour;
}

std::string filled(std::string_view pattern, const std::vector<std::pair<char, std::string>>& values) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      out += pattern[i];
      continue;
    }
    for (const auto& [name, value] : values) {
      if (name == pattern[i + 1]) out += value;
    }
    i += 2;
  }
  return out;
}

const char* pick(const std::vector<const char*>& wordings, RandomStream& random) {
  return wordings[random.below(static_cast<std::uint32_t>(wordings.size()))];
}

}  // namespace

std::string plural(const std::string& name) {
  constexpr const char* irregular[][2] = {
      {"person", "people"}, {"man", "men"},       {"woman", "women"},      {"child", "children"}, {"mouse", "mice"},
      {"foot", "feet"},     {"tooth", "teeth"},   {"goose", "geese"},      {"knife", "knives"},   {"wolf", "wolves"},
      {"leaf", "leaves"},   {"shelf", "shelves"}, {"loaf", "loaves"},      {"scarf", "scarves"},  {"sheep", "sheep"},
      {"fish", "fish"},     {"deer", "deer"},     {"scissors", "scissors"}};
  const std::size_t last = name.rfind(' ') + 1;  // of its words; npos + 1 is 0
  for (const auto& [one, several] : irregular) {
    if (name.substr(last) == one) return name.substr(0, last) + several;
  }
  for (const char* end : {"s", "x", "z", "ch", "sh"}) {
    if (name.ends_with(end)) return name + "es";
  }
  const bool changes = name.ends_with("y") && name.size() > 1 && !is_vowel(name[name.size() - 2]);
  return changes ? name.substr(0, name.size() - 1) + "ies" : name + "s";
}

Phrase phrase(const Claim& claim, const ObjectName& thing, const ObjectName& other, Language language,
              RandomStream& wording) {
  const bool chinese = language == Language::chinese;
  constexpr const char* sides[][2] = {
      {"to the left of", "左边"}, {"to the right of", "右边"}, {"above", "上方"}, {"below", "下方"}};
  const std::string& name = chinese ? thing.chinese : thing.english;
  const std::vector<std::pair<char, std::string>> values = {{'t', name},
                                                            {'a', with_article(name)},
                                                            {'o', chinese ? other.chinese : other.english},
                                                            {'c', colour_in(claim.colour, chinese)},
                                                            {'k', colour_in(claim.true_colour, chinese)},
                                                            {'n', counted(claim.number, name, chinese)},
                                                            {'m', counted(claim.true_number, name, chinese)},
                                                            {'w', sides[claim.side][chinese ? 1 : 0]}};
  const Wordings& all = wordings(claim.kind, chinese);
  return {filled(pick(all.questions, wording), values), filled(pick(claim.yes ? all.yes : all.no, wording), values)};
}

}  // namespace skymm
