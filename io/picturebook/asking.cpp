#include "io/picturebook/asking.hpp"

#include <algorithm>

namespace skymm {

Question Asked::closed(const std::string& text, Task task, bool truth) const {
  return {text + (chinese ? "请回答是或否。" : " Please answer yes or no."),
          chinese ? (truth ? "是" : "否") : (truth ? "yes" : "no"), task,
          truth ? Polarity::positive : Polarity::negative};
}

const Concept& concept_of(const SceneObject& object) {
  return concepts()[static_cast<std::size_t>(object.concept_index)];
}

bool present(const Scene& scene, int concept_index) {
  return std::ranges::any_of(scene.objects, [&](const auto& o) { return o.concept_index == concept_index; });
}

std::vector<SceneObject> emoji_of(const Scene& scene) {
  std::vector<SceneObject> found;
  std::ranges::copy_if(scene.objects, std::back_inserter(found), [](const auto& o) { return !o.is_shape(); });
  return found;
}

int random_concept(const Scene& scene, Random& random) {
  const auto known = std::ranges::find_if(scene.objects, [](const auto& o) { return !o.is_shape(); });
  const int trained = training_concepts();
  const bool held_out = known != scene.objects.end() && known->concept_index >= trained;
  return held_out ? random.between(trained, static_cast<int>(concepts().size()) - 1) : random.below(trained);
}

int shapes_of(const Scene& scene, int shape) {
  return static_cast<int>(std::ranges::count_if(scene.objects, [&](const auto& o) { return o.shape == shape; }));
}

std::vector<SceneObject> single_shapes(const Scene& scene) {
  std::vector<SceneObject> found;
  for (const SceneObject& object : scene.objects)
    if (object.is_shape() && shapes_of(scene, object.shape) == 1) found.push_back(object);
  return found;
}

bool unique(const Scene& scene, const SceneObject& object) {
  return std::ranges::count_if(scene.objects, [&](const auto& o) { return o.same_thing(object); }) == 1;
}

std::optional<Counted> counted_of(const Asked& asked) {
  if (asked.scene.counted < 0) return {};
  const SceneObject& object = asked.scene.objects[static_cast<std::size_t>(asked.scene.counted)];
  Counted counted;
  counted.one = object.is_shape() ? std::string(asked.of(shape_names[static_cast<std::size_t>(object.shape)]))
                                  : asked.name(object);
  counted.many = asked.chinese ? counted.one : plural(counted.one);
  counted.number = static_cast<int>(std::ranges::count_if(asked.scene.objects, [&](const auto& other) {
    return other.concept_index == object.concept_index && other.shape == object.shape;
  }));
  return counted;
}

}  // namespace skymm
