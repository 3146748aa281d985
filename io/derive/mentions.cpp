#include "io/derive/mentions.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <set>
#include <span>
#include <utility>

#include "io/derive/phrases.hpp"

namespace skymm {
namespace {

using Words = std::vector<std::string>;
using List = std::span<const std::string_view>;

// A sentence with one of these does not say plainly that what it names is there.
constexpr std::string_view english_doubts[] = {
    "no",      "not",      "never",  "none",  "without", "neither", "nor",     "nobody",    "nothing",   "cannot",
    "dont",    "isnt",     "arent",  "lack",  "lacks",   "lacking", "absent",  "absence",   "missing",   "instead",
    "rather",  "except",   "unlike", "if",    "or",      "either",  "whether", "may",       "might",     "maybe",
    "perhaps", "possibly", "could",  "would", "like",    "seems",   "shaped",  "resembles", "resembling"};
constexpr std::string_view chinese_doubts[] = {"没",   "无",   "不",   "未", "缺", "或",
                                               "可能", "也许", "如果", "像", "似", "除了"};
// One with one of these speaks of more things than it counts, or of parts.
constexpr std::string_view english_more[] = {"each",    "every",         "per",     "another",  "other",  "others",
                                             "more",    "also",          "least",   "about",    "around", "nearly",
                                             "almost",  "approximately", "roughly", "partly",   "half",   "various",
                                             "hundred", "thousand",      "dozen",   "different"};
constexpr std::string_view chinese_more[] = {"每",   "各",   "其他", "其它", "另", "还有", "至少", "大约",
                                             "左右", "超过", "将近", "多",   "余", "半",   "不同"};
// What may stand behind a name that is not part of a longer one.
constexpr std::string_view english_next[] = {
    ",",    ".",     ":",     "!",      "?",      "is",      "are",     "was",     "were",    "and",      "in",
    "on",   "at",    "with",  "by",     "near",   "next",    "under",   "over",    "above",   "below",    "behind",
    "that", "which", "to",    "of",     "inside", "beneath", "from",    "beside",  "sitting", "standing", "lying",
    "has",  "have",  "while", "laying", "parked", "running", "walking", "playing", "flying",  "atop"};
constexpr std::string_view chinese_next[] = {"在", "和", "与", "及", "正", "，", "。", "、", "；",
                                             "：", "！", "？", "」", "”",  "）", ",",  ".",  " "};
constexpr std::string_view one_again[] = {"the", "this", "that", "his", "her", "its", "their"};
constexpr std::string_view several_again[] = {"the", "both", "these", "those", "his", "her", "its", "their"};
// What may stand in front of a number that counts all that there are.
constexpr std::string_view before_number[] = {",",   "and",   "with",     "has",     "have",  "are",  "were",
                                              "the", "shows", "contains", "showing", "these", "those"};
constexpr std::string_view pictures[] = {"picture", "photo", "photograph", "image", "view"};
constexpr std::string_view english_numbers[] = {"one", "two",   "three", "four", "five",
                                                "six", "seven", "eight", "nine", "ten"};
constexpr std::string_view chinese_numbers[] = {"一", "两", "三", "四", "五", "六", "七", "八", "九", "十"};
constexpr std::string_view before_chinese_number[] = {"，", "。", "、", "：", " ",  "有",
                                                      "着", "是", "和", "与", "及", "了"};
// 十一, 第一: a number or a place in an order, of which 一 is the end.
constexpr std::string_view before_chinese_one[] = {"十", "百", "千", "第", "唯", "0", "1", "2",
                                                   "3",  "4",  "5",  "6",  "7",  "8", "9"};
constexpr std::string_view measures[] = {"个", "只", "条", "头", "匹", "辆", "架", "艘", "把", "张", "朵",
                                         "棵", "件", "顶", "本", "支", "台", "座", "名", "位", "根"};
// Words that may mean one of colour_words.
constexpr std::pair<std::string_view, const char*> near_colours[] = {
    {"silver", "gray"}, {"golden", "yellow"},  {"gold", "yellow"}, {"blond", "yellow"},  {"blonde", "yellow"},
    {"tan", "brown"},   {"beige", "brown"},    {"navy", "blue"},   {"violet", "purple"}, {"maroon", "red"},
    {"reddish", "red"}, {"brownish", "brown"}, {"cream", "white"}};
// Columns of colour_words.
constexpr std::size_t english = 0, chinese = 1;

bool is_one_of(std::string_view word, List list) { return std::ranges::find(list, word) != list.end(); }

bool has_any(std::string_view text, List list) {
  return std::ranges::any_of(list, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

bool begins_with_any(std::string_view text, List list) {
  return std::ranges::any_of(list, [&](std::string_view word) { return text.starts_with(word); });
}

bool ends_with_any(std::string_view text, List list) {
  return std::ranges::any_of(list, [&](std::string_view word) { return text.ends_with(word); });
}

// Takes one of the words off the text's end; which one, or -1.
int take_end(std::string_view& text, List list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!text.ends_with(list[i])) continue;
    text.remove_suffix(list[i].size());
    return static_cast<int>(i);
  }
  return -1;
}

enum class Kind : std::uint8_t { space, word, foreign, mark };

Kind kind_of(char c) {
  if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return Kind::space;
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return Kind::word;
  return static_cast<unsigned char>(c) >= 0x80 ? Kind::foreign : Kind::mark;
}

// In lower case: runs of letters and digits, runs of other scripts, and marks one by one.
Words words_of(std::string_view text) {
  Words words;
  Kind last = Kind::space;
  for (const char c : text) {
    const Kind kind = kind_of(c);
    if (kind != Kind::space) {
      if (kind != last || kind == Kind::mark) words.emplace_back();
      words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    last = kind;
  }
  return words;
}

// The text as far as its first sentence goes, which is taken off it.
std::string_view take_sentence(std::string_view& text) {
  constexpr std::string_view ends[] = {".", "!", "?", "。", "！", "？"};
  std::size_t end = 0;
  while (end < text.size() && !ends_with_any(text.substr(0, end), ends)) ++end;
  const std::string_view sentence = text.substr(0, end);
  text.remove_prefix(end);
  return sentence;
}

bool is_doubted(const Words& words, std::string_view sentence) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    // isn't, doesn't, with any of the apostrophes
    const bool not_short = words[i] == "t" && i >= 2 && words[i - 2].ends_with('n');
    if (not_short || is_one_of(words[i], english_doubts)) return true;
  }
  return has_any(sentence, chinese_doubts);
}

int colour_number(std::string_view word, std::size_t language) {
  for (std::size_t i = 0; i < std::size(colour_words); ++i) {
    if (word == colour_words[i][language]) return static_cast<int>(i);
  }
  return word == "grey" ? colour_number("gray", language) : -1;
}

int english_number(std::string_view word) {
  const auto found = std::ranges::find(english_numbers, word);
  if (found != std::end(english_numbers)) return static_cast<int>(found - std::begin(english_numbers)) + 1;
  int number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size() && number >= 1 && number <= 10 ? number : 0;
}

// What the words around the name at [begin, end) say of it.
void read_around(const Words& words, std::size_t begin, std::size_t end, bool singular, bool plural, Mention& mention) {
  const auto before = [&](std::size_t n) { return begin >= n ? std::string_view(words[begin - n]) : ""; };
  if (end < words.size() && !is_one_of(words[end], english_next)) return;
  const auto is_article = [](std::string_view word) { return word == "a" || word == "an"; };
  const int colour = colour_number(before(1), english), number = english_number(before(1));
  if (singular && (is_article(before(1)) || (colour >= 0 && is_article(before(2))))) {
    mention.as_one = mention.introduces = true;
    if (colour >= 0) mention.colour = colour_words[colour][english];
  } else if (number > 0 && (number == 1 ? singular : plural)) {
    const bool of_picture = before(2) == "of" && is_one_of(before(3), pictures);
    const bool counts_all = is_one_of(before(2), before_number) && english_number(before(3)) == 0;  // not "one, two"
    if (begin > 1 && !of_picture && !counts_all) return;
    mention.as_several = mention.introduces = true;
    mention.number = number;
  } else {
    mention.as_one = singular && is_one_of(before(1), one_again);
    mention.as_several = plural && is_one_of(before(1), several_again);
  }
}

// The same of what stands in front of and behind a Chinese name.
void read_around(std::string_view before, std::string_view after, Mention& mention) {
  if (!after.empty() && !begins_with_any(after, chinese_next)) return;
  constexpr std::string_view of[] = {"的"};
  std::string_view rest = before;
  take_end(rest, of);
  int colour = -1;
  for (std::size_t i = 0; i < std::size(colour_words); ++i) {
    if (rest.ends_with(colour_words[i][chinese])) colour = static_cast<int>(i);
  }
  if (colour >= 0) {
    rest.remove_suffix(std::string_view(colour_words[colour][chinese]).size());
  } else {
    rest = before;
  }
  if (take_end(rest, measures) < 0) {
    // A bare name at the start of a clause, which may be one or several.
    constexpr std::string_view starts[] = {"，", "。", " "};
    mention.as_one = mention.as_several = colour < 0 && (rest.empty() || ends_with_any(rest, starts));
    return;
  }
  constexpr std::string_view this_one[] = {"这", "那"};
  if (take_end(rest, this_one) >= 0) {
    mention.as_one = colour < 0;
    return;
  }
  int number = take_end(rest, chinese_numbers) + 1;
  for (int n = 1; number == 0 && n < 10; ++n) {
    const std::string digit = std::to_string(n);
    if (rest.ends_with(digit)) rest.remove_suffix(1), number = n;
  }
  if (number == 1 && !ends_with_any(rest, before_chinese_one)) {
    mention.as_one = mention.introduces = true;  // 一 is no more than an article
    if (colour >= 0) mention.colour = colour_words[colour][english];
  } else if (number > 1 && colour < 0 && (rest.empty() || ends_with_any(rest, before_chinese_number))) {
    mention.as_several = mention.introduces = true;
    mention.number = number;
  }
}

struct Found {
  std::size_t begin = 0, end = 0;  // in the words or the bytes of a sentence
  int thing = 0;
  bool singular = false, plural = false;
};

// Without those that lie within a longer one.
void keep_longest(std::vector<Found>& all) {
  std::ranges::stable_sort(
      all, [](const Found& a, const Found& b) { return a.begin != b.begin ? a.begin < b.begin : a.end > b.end; });
  Found last;  // that was kept; it reaches furthest
  std::erase_if(all, [&](const Found& one) {
    if (one.end <= last.end && (one.begin != last.begin || one.end != last.end)) return true;
    last = one;
    return false;
  });
}

}  // namespace

MentionFinder::MentionFinder(const std::vector<ObjectName>& names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string& name = names[i].english;
    const int thing = static_cast<int>(i);
    if (!names[i].chinese.empty()) chinese_.emplace_back(thing, names[i].chinese);
    if (words_of(name).empty()) continue;
    const std::string several = plural(name);
    for (const std::string& form : std::set<std::string>{name, several, name + "s", name + "es"}) {
      Words words = words_of(form);
      const std::string last = std::move(words.back());
      words.pop_back();
      forms_[last].push_back({.thing = thing,
                              .before = std::move(words),
                              .singular = form == name,
                              .plural = form != name || form == several});
    }
  }
}

std::vector<Mention> MentionFinder::find(std::string_view text) const {
  std::vector<Mention> found;
  while (!text.empty()) {
    const std::string_view sentence = take_sentence(text);
    const Words words = words_of(sentence);
    const bool there = !is_doubted(words, sentence);
    const bool plain = there && !has_any(sentence, chinese_more) &&
                       std::ranges::none_of(words, [](const auto& word) { return is_one_of(word, english_more); });
    find_english(words, there, plain, found);
    find_chinese(sentence, there, plain, found);
  }
  return found;
}

void MentionFinder::find_english(const Words& words, bool there, bool plain, std::vector<Mention>& to) const {
  std::vector<Found> all;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto forms = forms_.find(words[i]);
    if (forms == forms_.end()) continue;
    for (const Form& form : forms->second) {
      const std::size_t before = form.before.size();
      if (before > i || !std::ranges::equal(form.before, std::span(words).subspan(i - before, before))) continue;
      all.push_back({i - before, i + 1, form.thing, form.singular, form.plural});
    }
  }
  keep_longest(all);
  for (const Found& name : all) {
    Mention mention{.thing = name.thing, .there = there};
    // "An orange cat" shows no orange.
    const bool only_colour = name.end - name.begin == 1 && colour_number(words[name.begin], english) >= 0 &&
                             name.end < words.size() && !is_one_of(words[name.end], english_next);
    if (only_colour) mention.there = false;
    if (plain) read_around(words, name.begin, name.end, name.singular, name.plural, mention);
    to.push_back(std::move(mention));
  }
}

void MentionFinder::find_chinese(std::string_view sentence, bool there, bool plain, std::vector<Mention>& to) const {
  std::vector<Found> all;
  for (const auto& [thing, name] : chinese_) {
    for (std::size_t at = sentence.find(name); at != std::string_view::npos; at = sentence.find(name, at + 1)) {
      all.push_back({at, at + name.size(), thing});
    }
  }
  keep_longest(all);
  for (const Found& name : all) {
    Mention mention{.thing = name.thing, .there = there};
    if (plain) read_around(sentence.substr(0, name.begin), sentence.substr(name.end), mention);
    to.push_back(std::move(mention));
  }
}

std::set<std::string> colours_named(std::string_view text) {
  std::set<std::string> named;
  for (const std::string& word : words_of(text)) {
    if (const int colour = colour_number(word, english); colour >= 0) named.insert(colour_words[colour][english]);
    for (const auto& [near, colour] : near_colours) {
      if (word == near) named.insert(colour);
    }
  }
  for (const auto& colour : colour_words) {
    // By the first character: 红色, 粉红, 红白相间.
    if (text.find(std::string_view(colour[chinese]).substr(0, 3)) != std::string_view::npos) {
      named.insert(colour[english]);
    }
  }
  return named;
}

}  // namespace skymm
