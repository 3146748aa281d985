// Questions and answers about a picture's objects, worded in several ways.
#pragma once

#include <string>

#include "core/random.hpp"
#include "io/derive/negatives.hpp"
#include "io/sample.hpp"

namespace skymm {

enum class QuestionKind : std::uint8_t { existence, attribute, count, relation };
constexpr const char* kind_names[] = {"existence", "attribute", "count", "relation"};

// What a question asks, in no language yet. `yes`: it is so.
struct Claim {
  QuestionKind kind = QuestionKind::existence;
  bool yes = true;
  int pair = 0;                     // a positive and a negative claim of a picture have one number
  int thing = 0, other = 0;         // into the vocabulary; relation: thing is <side> of other
  std::string colour, true_colour;  // attribute
  int number = 0, true_number = 0;  // count
  int side = 0;                     // relation: 0 left, 1 right, 2 above, 3 below
  std::string strategy;             // existence: how an absent thing was drawn
};

constexpr const char* colour_words[][2] = {
    {"red", "红色"},   {"blue", "蓝色"},  {"green", "绿色"}, {"yellow", "黄色"}, {"orange", "橙色"}, {"purple", "紫色"},
    {"brown", "棕色"}, {"black", "黑色"}, {"white", "白色"}, {"pink", "粉色"},   {"gray", "灰色"}};

// Of an English name: "dogs", "teddy bears", "men".
std::string plural(const std::string& name);

struct Phrase {
  std::string question, answer;
};
// wording: draws one of the wordings.
Phrase phrase(const Claim& claim, const ObjectName& thing, const ObjectName& other, Language language,
              RandomStream& wording);

}  // namespace skymm
