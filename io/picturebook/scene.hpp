// Scenes of the picture book: a few objects and perhaps a short text on a plain ground, with their exact truth.
// Everything about a scene is known before it is drawn, so pictures, captions and questions cannot disagree.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "io/picturebook/concepts.hpp"
#include "io/picturebook/random.hpp"
#include "io/sample.hpp"

namespace skymm {

constexpr int canvas_size = 112;

struct Box {
  int x = 0, y = 0, w = 0, h = 0;  // pixels, top left corner
  int centre_x() const { return x + w / 2; }
  int centre_y() const { return y + h / 2; }
  int column() const { return centre_x() * 3 / canvas_size; }  // 0 left, 1 middle, 2 right
  int row() const { return centre_y() * 3 / canvas_size; }
};

struct SceneObject {
  int concept_index = -1;       // into concepts(); -1: a shape
  int shape = -1, colour = -1;  // into shape_names and colours; -1: an emoji
  Box box;
  bool is_shape() const { return shape >= 0; }
  bool same_thing(const SceneObject& other) const {
    return concept_index == other.concept_index && shape == other.shape && colour == other.colour;
  }
};

enum class TextKind { none, english_word, chinese_word, number, sum };

struct SceneText {
  TextKind kind = TextKind::none;
  std::string text;  // as drawn: "cat", "福", "42", "3+4=?"
  int word = -1;     // into word_pairs(), for words
  int answer = 0;    // of a sum
  Box box;
};

struct Scene {
  std::vector<SceneObject> objects;  // in reading order: rows of the 3 x 3 grid, then columns; one object a cell
  SceneText text;
  int counted = -1;  // the object whose number was drawn evenly from 1 to 4, so that counting it is a fair question
  std::array<unsigned char, 3> ground = {255, 255, 255};
};

// Words that canvases show, each with its translation.
const std::vector<Named>& word_pairs();

struct SceneOptions {
  bool held_out = false;           // draw from the held-out concepts instead of the training ones
  int text_percent = 30;           // of scenes with a text
  TextKind text = TextKind::none;  // other than none: every scene has a text of this kind
  int shape_percent = 35;          // of objects that are shapes
  int counting_percent = 50;       // of scenes made for counting
  int min_objects = 1;
};
Scene random_scene(Random& random, const SceneOptions& options = {});

// Splits by layout: one scene in ten is held out of all training. With two objects or more it is by what stands where,
// so that its caption too is unseen; there are too few captions of one object for that, so those are split by their
// pixels.
bool is_held_out_layout(const Scene& scene);

// What tells two pictures apart: everything that is drawn.
std::uint64_t scene_fingerprint(const Scene& scene);

// "red circle", "红色圆形", "panda".
std::string object_name(const SceneObject& object, Language language);
// "top left" and the like, by the box's cell.
std::string_view position_name(const Box& box, Language language);
// "top left: panda. right: red circle. bottom: text \"42\"." in reading order; "左上：熊猫。" in Chinese.
std::string describe(const Scene& scene, Language language);
// {"objects": [{"concept", "name_en", "name_zh", "color" (shapes), "x", "y", "w", "h"}], "text": {...} or null,
// "counted"}.
std::string annotate(const Scene& scene);

}  // namespace skymm
