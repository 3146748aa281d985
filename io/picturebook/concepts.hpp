// What the picture book draws: emoji with short distinct names in both languages, shapes and colours.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace skymm {

enum class Category { animal, plant, food, vehicle, building, clothing, instrument, tool, ball, decoration };
constexpr int category_count = 10;

// What commonsense questions ask about.
enum Property : unsigned {
  can_fly = 1,
  lives_in_water = 2,
  has_wheels = 4,
  can_be_eaten = 8,
  can_be_worn = 16,
  makes_music = 32
};
constexpr int property_count = 6;
// People would disagree whether the thing has the property: nothing is asked about it.
constexpr unsigned unsure(Property property) { return property << 8; }

struct Concept {
  char32_t code;             // of the emoji
  std::string_view id;       // the English name with underscores
  std::string_view name_en;  // a countable singular
  std::string_view name_zh;
  Category category;
  unsigned properties = 0;
  bool held_out = false;  // never in training
};

// All concepts, held-out ones last. Names follow the CLDR annotations, shortened where those describe the drawing.
const std::vector<Concept>& concepts();
// Number of concepts that training may use: concepts()[0 .. training_concepts()).
int training_concepts();

struct Named {
  std::string_view en, zh;
};
constexpr std::array<Named, 3> shape_names = {{{"circle", "圆形"}, {"square", "方形"}, {"triangle", "三角形"}}};

struct Colour {
  std::string_view en, zh;
  std::array<unsigned char, 3> rgb;
};
constexpr std::array<Colour, 8> colours = {{{"red", "红色", {220, 30, 35}},
                                            {"orange", "橙色", {250, 140, 20}},
                                            {"yellow", "黄色", {245, 215, 30}},
                                            {"green", "绿色", {40, 160, 60}},
                                            {"blue", "蓝色", {35, 85, 220}},
                                            {"purple", "紫色", {140, 50, 175}},
                                            {"brown", "棕色", {125, 75, 35}},
                                            {"black", "黑色", {20, 20, 20}}}};

// "an animal", "动物".
extern const std::array<Named, category_count> category_phrases;
// "that can fly", as in "Is there something that can fly in the picture?", and "会飞的", as in "图里有会飞的东西吗？".
extern const std::array<Named, property_count> property_phrases;

std::string plural(std::string_view english);
std::string with_article(std::string_view english);

}  // namespace skymm
