#include "io/picturebook/scene.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr int min_size = 26, max_size = 38;
constexpr int cell_margin = 4;  // a centre nearer than this to the border of its cell could be read as the next cell
constexpr int gap = 2;          // between objects

bool near_cell_border(int centre) {
  const int left = canvas_size / 3, right = canvas_size * 2 / 3;
  return std::abs(centre - left) < cell_margin || std::abs(centre - right) < cell_margin;
}

bool overlap(const Box& a, const Box& b) {
  return a.x < b.x + b.w + gap && b.x < a.x + a.w + gap && a.y < b.y + b.h + gap && b.y < a.y + a.h + gap;
}

bool same_cell(const Box& a, const Box& b) { return a.row() == b.row() && a.column() == b.column(); }

// False where no free place was found in a fair number of tries.
bool place(Random& random, Box& box, const std::vector<Box>& taken) {
  for (int attempt = 0; attempt < 60; ++attempt) {
    box.x = random.between(1, canvas_size - box.w - 1);
    box.y = random.between(1, canvas_size - box.h - 1);
    if (near_cell_border(box.centre_x()) || near_cell_border(box.centre_y())) continue;
    if (std::ranges::none_of(taken, [&](const Box& other) { return overlap(box, other) || same_cell(box, other); }))
      return true;
  }
  return false;
}

SceneObject random_object(Random& random, const SceneOptions& options) {
  SceneObject object;
  if (random.chance(options.shape_percent)) {
    object.shape = random.below(static_cast<int>(shape_names.size()));
    object.colour = random.below(static_cast<int>(colours.size()));
  } else {
    const int trained = training_concepts(), all = static_cast<int>(concepts().size());
    object.concept_index = options.held_out ? random.between(trained, all - 1) : random.below(trained);
  }
  return object;
}

// Counting asks for "circles", whatever their colours.
bool same_kind(const SceneObject& a, const SceneObject& b) {
  return a.concept_index == b.concept_index && a.shape == b.shape;
}

// What the scene holds, before anything has a place.
std::vector<SceneObject> random_things(Random& random, const SceneOptions& options, int most, bool& counting) {
  std::vector<SceneObject> things;
  const int total = random.between(std::min(options.min_objects, most), most);
  counting = random.chance(options.counting_percent);
  if (counting) {
    const int copies = random.between(1, most);
    SceneObject first = random_object(random, options);
    for (int i = 0; i < copies; ++i) {
      if (i > 0 && first.is_shape()) first.colour = random.below(static_cast<int>(colours.size()));
      things.push_back(first);
    }
  }
  while (static_cast<int>(things.size()) < total) {
    const SceneObject object = random_object(random, options);
    if (std::ranges::none_of(things, [&](const SceneObject& other) {
          return counting ? same_kind(object, other) : object.same_thing(other);
        }))
      things.push_back(object);
  }
  return things;
}

SceneText random_text(Random& random, const SceneOptions& options) {
  SceneText text;
  text.kind = options.text;
  if (text.kind == TextKind::none && random.chance(options.text_percent))
    text.kind = static_cast<TextKind>(random.between(1, 4));
  const auto word = [&] { return text.word = random.below(static_cast<int>(word_pairs().size())); };
  switch (text.kind) {
    case TextKind::none:
      return text;
    case TextKind::english_word:
      text.text = word_pairs()[static_cast<std::size_t>(word())].en;
      break;
    case TextKind::chinese_word:
      text.text = word_pairs()[static_cast<std::size_t>(word())].zh;
      break;
    case TextKind::number:
      text.text = std::to_string(random.between(10, 99));
      break;
    case TextKind::sum: {
      const int a = random.between(1, 9), b = random.between(1, 9);
      const bool minus = random.coin();
      const int high = std::max(a, b), low = std::min(a, b);
      text.answer = minus ? high - low : a + b;
      text.text = minus ? fmt::format("{}-{}=?", high, low) : fmt::format("{}+{}=?", a, b);
      break;
    }
  }
  const int characters = static_cast<int>(
      std::ranges::count_if(text.text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  text.box.w = characters * (text.kind == TextKind::chinese_word ? 22 : 14) + 4;
  text.box.h = 26;
  return text;
}

bool reads_before(const Box& a, const Box& b) {
  return a.row() != b.row() ? a.row() < b.row() : a.column() < b.column();
}

}  // namespace

const std::vector<Named>& word_pairs() {
  static const std::vector<Named> pairs = {
      {"dog", "狗"},   {"cat", "猫"},    {"pig", "猪"},   {"cow", "牛"},    {"fish", "鱼"},   {"bird", "鸟"},
      {"tea", "茶"},   {"rice", "米"},   {"egg", "蛋"},   {"sun", "太阳"},  {"moon", "月亮"}, {"star", "星星"},
      {"tree", "树"},  {"sea", "海"},    {"fire", "火"},  {"door", "门"},   {"book", "书"},   {"car", "车"},
      {"bus", "公交"}, {"city", "城市"}, {"luck", "福"},  {"love", "爱"},   {"big", "大"},    {"rain", "雨"},
      {"snow", "雪"},  {"blue", "蓝"},   {"red", "红"},   {"hill", "山"},   {"lake", "湖"},   {"hot", "热"},
      {"cold", "冷"},  {"hand", "手"},   {"ear", "耳"},   {"king", "王"},   {"girl", "女孩"}, {"boy", "男孩"},
      {"ship", "船"},  {"gold", "金"},   {"sugar", "糖"}, {"bread", "面包"}};
  return pairs;
}

namespace {

bool place_all(Random& random, Scene& scene) {
  std::vector<Box> taken;
  if (scene.text.kind != TextKind::none) {
    if (!place(random, scene.text.box, taken)) return false;
    taken.push_back(scene.text.box);
  }
  for (SceneObject& object : scene.objects) {
    object.box.w = object.box.h = random.between(min_size, max_size);
    if (!place(random, object.box, taken)) return false;
    taken.push_back(object.box);
  }
  return true;
}

}  // namespace

Scene random_scene(Random& random, const SceneOptions& options) {
  Scene scene;
  for (unsigned char& channel : scene.ground) channel = static_cast<unsigned char>(random.between(222, 255));
  scene.text = random_text(random, options);
  bool counting = false;
  scene.objects = random_things(random, options, scene.text.kind == TextKind::none ? 4 : 3, counting);
  const SceneObject counted = scene.objects.front();
  // The same things are placed anew until they fit, so that crowded scenes stay as common as they were drawn.
  while (!place_all(random, scene)) {
  }
  std::ranges::sort(scene.objects, [](const auto& a, const auto& b) { return reads_before(a.box, b.box); });
  if (counting) {
    const auto first = std::ranges::find_if(scene.objects, [&](const auto& o) { return same_kind(o, counted); });
    scene.counted = static_cast<int>(first - scene.objects.begin());
  }
  return scene;
}

bool is_held_out_layout(const Scene& scene) {
  if (scene.objects.size() < 2) return scene_fingerprint(scene) % 10 == 0;
  std::uint64_t hash = 1;
  for (const char c : describe(scene, Language::english)) hash = Random::mix(hash ^ static_cast<unsigned char>(c));
  return hash % 10 == 0;
}

std::uint64_t scene_fingerprint(const Scene& scene) {
  std::uint64_t hash = 1;
  const auto add = [&](int value) {
    hash = Random::mix(hash + 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(value));
  };
  const auto add_box = [&](const Box& box) { add(box.x), add(box.y), add(box.w), add(box.h); };
  for (const SceneObject& object : scene.objects) {
    add(object.concept_index), add(object.shape), add(object.colour);
    add_box(object.box);
  }
  for (const char c : scene.text.text) add(c);
  add_box(scene.text.box);
  for (const unsigned char channel : scene.ground) add(channel);
  return hash;
}

std::string object_name(const SceneObject& object, Language language) {
  const bool chinese = language == Language::chinese;
  if (!object.is_shape()) {
    const Concept& concept_ = concepts()[static_cast<std::size_t>(object.concept_index)];
    return std::string(chinese ? concept_.name_zh : concept_.name_en);
  }
  const Colour& colour = colours[static_cast<std::size_t>(object.colour)];
  const Named& shape = shape_names[static_cast<std::size_t>(object.shape)];
  return chinese ? fmt::format("{}{}", colour.zh, shape.zh) : fmt::format("{} {}", colour.en, shape.en);
}

std::string_view position_name(const Box& box, Language language) {
  static constexpr Named names[3][3] = {{{"top left", "左上"}, {"top", "上"}, {"top right", "右上"}},
                                        {{"left", "左"}, {"center", "中"}, {"right", "右"}},
                                        {{"bottom left", "左下"}, {"bottom", "下"}, {"bottom right", "右下"}}};
  const Named& name = names[box.row()][box.column()];
  return language == Language::chinese ? name.zh : name.en;
}

std::string describe(const Scene& scene, Language language) {
  const bool chinese = language == Language::chinese;
  std::string out;
  const auto add = [&](const Box& box, const std::string& what) {
    if (!chinese && !out.empty()) out += ' ';
    out += fmt::format(fmt::runtime(chinese ? "{}：{}。" : "{}: {}."), position_name(box, language), what);
  };
  const auto add_text = [&] {
    add(scene.text.box, fmt::format(fmt::runtime(chinese ? "文字“{}”" : "text \"{}\""), scene.text.text));
  };
  bool text_told = scene.text.kind == TextKind::none;
  for (const SceneObject& object : scene.objects) {
    if (!text_told && reads_before(scene.text.box, object.box)) add_text(), text_told = true;
    add(object.box, object_name(object, language));
  }
  if (!text_told) add_text();
  return out;
}

std::string annotate(const Scene& scene) {
  using nlohmann::json;
  const auto with_box = [](json entry, const Box& box) {
    entry.update({{"x", box.x}, {"y", box.y}, {"w", box.w}, {"h", box.h}});
    return entry;
  };
  json objects = json::array();
  for (const SceneObject& object : scene.objects) {
    json entry;
    if (object.is_shape()) {
      const Named& shape = shape_names[static_cast<std::size_t>(object.shape)];
      entry = {{"concept", shape.en}, {"name_en", shape.en}, {"name_zh", shape.zh}};
      entry["color"] = colours[static_cast<std::size_t>(object.colour)].en;
    } else {
      const Concept& concept_ = concepts()[static_cast<std::size_t>(object.concept_index)];
      entry = {{"concept", concept_.id}, {"name_en", concept_.name_en}, {"name_zh", concept_.name_zh}};
    }
    objects.push_back(with_box(std::move(entry), object.box));
  }
  json out = {{"objects", std::move(objects)}, {"text", nullptr}, {"counted", scene.counted}};
  if (scene.text.kind != TextKind::none) out["text"] = with_box({{"text", scene.text.text}}, scene.text.box);
  return out.dump();
}

}  // namespace skymm
