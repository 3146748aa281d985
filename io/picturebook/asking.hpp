// What questions about scenes are made of: one language's words, and what of a scene can be asked about.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "io/picturebook/questions.hpp"

namespace skymm {

constexpr int clear_distance = 14;  // pixels between centres, for a relation that one can see

constexpr std::array<Named, 5> number_words = {
    {{"zero", "零"}, {"one", "一"}, {"two", "两"}, {"three", "三"}, {"four", "四"}}};

// A question on its way: what it is about, in which language, and what draws the rest of it.
struct Asked {
  const Scene& scene;
  bool chinese;
  Random& random;

  std::string_view of(const Named& named) const { return chinese ? named.zh : named.en; }
  // One of two texts with its arguments put in.
  template <class... Args>
  std::string say(std::string_view english, std::string_view chinese_text, const Args&... args) const {
    return fmt::format(fmt::runtime(chinese ? chinese_text : english), args...);
  }
  std::string a(std::string_view name) const { return chinese ? std::string(name) : with_article(name); }
  std::string name(const SceneObject& object) const {
    return object_name(object, chinese ? Language::chinese : Language::english);
  }
  std::string is_there(std::string_view what) const { return say("Is there {} in the picture?", "图里有{}吗？", what); }
  // The text with what asks for yes or no behind it, and its answer.
  Question closed(const std::string& text, Task task, bool truth) const;
};

const Concept& concept_of(const SceneObject& object);
bool present(const Scene& scene, int concept_index);
std::vector<SceneObject> emoji_of(const Scene& scene);
// A concept from the split that the scene's own come from.
int random_concept(const Scene& scene, Random& random);

int shapes_of(const Scene& scene, int shape);
// Shapes that stand alone in their kind: "the circle" is then clear.
std::vector<SceneObject> single_shapes(const Scene& scene);
// No other object has its name: "the red circle", "the panda" is then clear.
bool unique(const Scene& scene, const SceneObject& object);

// What the scene was made for counting: a concept, or a shape in any colours.
struct Counted {
  std::string one, many;
  int number = 0;
};
std::optional<Counted> counted_of(const Asked& asked);

}  // namespace skymm
