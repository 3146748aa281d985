#include "io/picturebook/render.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "core/error.hpp"

namespace skymm {
namespace {

constexpr int smallest_glyph = 26, largest_glyph = 38;

std::u32string code_points(std::string_view utf8) {
  std::u32string out;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const int length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (int k = 1; k < length; ++k)
      code = code << 6 | (static_cast<unsigned char>(utf8[i + static_cast<std::size_t>(k)]) & 0x3Fu);
    out += code;
    i += static_cast<std::size_t>(length);
  }
  return out;
}

ImageRgba scaled(const ImageRgba& picture, int size) {
  const int longest = std::max(picture.width, picture.height);
  const auto side = [&](int length) { return std::max(1, (length * size + longest / 2) / longest); };
  return resize_bicubic(picture, side(picture.width), side(picture.height));
}

// Coverage of a pixel of a unit shape in a box of `size`, from 4 x 4 samples.
int shape_coverage(int shape, int x, int y, int size) {
  int inside = 0;
  for (int k = 0; k < 16; ++k) {
    const double u = (x + (k % 4 + 0.5) / 4) / size * 2 - 1, v = (y + (k / 4 + 0.5) / 4) / size * 2 - 1;
    const bool in = shape == 0   ? u * u + v * v <= 1
                    : shape == 1 ? std::max(std::abs(u), std::abs(v)) <= 0.9
                                 : v <= 0.9 && std::abs(u) <= (v + 0.95) / 1.85;
    inside += in;
  }
  return inside * 255 / 16;
}

ImageRgba draw_shape(const SceneObject& object) {
  const int size = object.box.w;
  ImageRgba out{size, size, std::vector<std::uint8_t>(static_cast<std::size_t>(size) * size * 4)};
  const auto& rgb = colours[static_cast<std::size_t>(object.colour)].rgb;
  std::uint8_t* pixel = out.rgba.data();
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x, pixel += 4) {
      std::copy(rgb.begin(), rgb.end(), pixel);
      pixel[3] = static_cast<std::uint8_t>(shape_coverage(object.shape, x, y, size));
    }
  return out;
}

}  // namespace

std::u32string scene_characters() {
  std::set<char32_t> used;
  for (const char c : std::string_view("0123456789+-=?")) used.insert(static_cast<char32_t>(c));
  for (const Named& pair : word_pairs()) {
    for (const char32_t c : code_points(pair.en)) used.insert(c);
    for (const char32_t c : code_points(pair.zh)) used.insert(c);
  }
  return {used.begin(), used.end()};
}

struct Renderer::Impl {
  std::map<char32_t, Character> characters;
  std::vector<std::vector<ImageRgba>> pictures;  // [concept][size - smallest_glyph]

  void draw_text(Image& image, const SceneText& text) const {
    const std::u32string codes = code_points(text.text);
    int width = 0, above = 0, below = 0;
    for (const char32_t code : codes) {
      const Character& c = characters.at(code);
      width += c.advance;
      above = std::max(above, c.top);
      below = std::max(below, c.height - c.top);
    }
    int pen = text.box.x + (text.box.w - width) / 2;
    const int baseline = text.box.y + (text.box.h - above - below) / 2 + above;
    for (const char32_t code : codes) {
      const Character& c = characters.at(code);
      ImageRgba ink{c.width, c.height, std::vector<std::uint8_t>(c.coverage.size() * 4, 25)};
      for (std::size_t i = 0; i < c.coverage.size(); ++i) ink.rgba[4 * i + 3] = c.coverage[i];
      composite(image, ink, pen + c.left, baseline - c.top);
      pen += c.advance;
    }
  }
};

Renderer::Renderer(const Glyphs& glyphs, const std::vector<int>& concept_indices) : impl_(std::make_unique<Impl>()) {
  impl_->characters = glyphs.characters;
  for (const char32_t code : scene_characters())
    check(glyphs.characters.contains(code), "picture book: the fonts have no character U+{:04X}",
          static_cast<unsigned>(code));
  impl_->pictures.resize(concepts().size());
  for (const int index : concept_indices) {
    const Concept& concept_ = concepts()[static_cast<std::size_t>(index)];
    check(glyphs.pictures.contains(concept_.code), "picture book: no picture of {} (U+{:04X}) in the emoji font",
          concept_.name_en, static_cast<unsigned>(concept_.code));
  }
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < concept_indices.size(); ++i) {
    const auto index = static_cast<std::size_t>(concept_indices[i]);
    for (int size = smallest_glyph; size <= largest_glyph; ++size)
      impl_->pictures[index].push_back(scaled(glyphs.pictures.at(concepts()[index].code), size));
  }
}

Renderer::Renderer(Renderer&&) noexcept = default;
Renderer::~Renderer() = default;

Image Renderer::render(const Scene& scene) const {
  Image image(canvas_size, canvas_size, scene.ground);
  for (const SceneObject& object : scene.objects) {
    if (object.is_shape()) {
      composite(image, draw_shape(object), object.box.x, object.box.y);
      continue;
    }
    const auto& sizes = impl_->pictures.at(static_cast<std::size_t>(object.concept_index));
    check(!sizes.empty(), "picture book: this renderer was made without {}",
          concepts()[static_cast<std::size_t>(object.concept_index)].name_en);
    const ImageRgba& picture = sizes.at(static_cast<std::size_t>(object.box.w - smallest_glyph));
    composite(image, picture, object.box.x + (object.box.w - picture.width) / 2,
              object.box.y + (object.box.h - picture.height) / 2);
  }
  if (scene.text.kind != TextKind::none) impl_->draw_text(image, scene.text);
  return image;
}

Image centred(const ImageRgba& picture, int size, std::array<std::uint8_t, 3> ground) {
  Image image(canvas_size, canvas_size, ground);
  const ImageRgba small = scaled(picture, size);
  composite(image, small, (canvas_size - small.width) / 2, (canvas_size - small.height) / 2);
  return image;
}

Glyphs drawn_glyphs() {
  Glyphs glyphs;
  for (const Concept& concept_ : concepts()) {
    constexpr int side = 48, blocks = 4;
    ImageRgba picture{side, side, std::vector<std::uint8_t>(side * side * 4)};
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x) {
        const int block = y * blocks / side * blocks + x * blocks / side;
        const std::uint64_t look = Random::mix(concept_.code * 64u + static_cast<unsigned>(block));
        std::uint8_t* pixel = picture.rgba.data() + (y * side + x) * 4;
        for (int c = 0; c < 3; ++c) pixel[c] = static_cast<std::uint8_t>(look >> (8 * c));
        pixel[3] = look >> 63 ? 255 : 160;
      }
    glyphs.pictures.emplace(concept_.code, std::move(picture));
  }
  for (const char32_t code : scene_characters()) {
    const bool wide = code > 0x7F;
    Character c{1, 14, wide ? 20 : 12, wide ? 18 : 10, 14, {}};
    for (int i = 0; i < c.width * c.height; ++i) {
      const int bit = i / c.width / 4 * 4 + i % c.width * 4 / c.width;
      c.coverage.push_back(Random::mix(code) >> bit & 1 ? 255 : 0);
    }
    glyphs.characters.emplace(code, std::move(c));
  }
  return glyphs;
}

}  // namespace skymm
