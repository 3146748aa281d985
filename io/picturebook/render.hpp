// Drawing scenes: glyph pictures from fonts or folders, shapes, and text.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/image.hpp"
#include "io/picturebook/scene.hpp"

namespace skymm {

// A character's coverage at one size, placed relative to the pen on the baseline.
struct Character {
  int left = 0, top = 0, advance = 0;  // top: pixels above the baseline
  int width = 0, height = 0;
  std::vector<std::uint8_t> coverage;  // [height, width]
};

struct Glyphs {
  std::map<char32_t, ImageRgba> pictures;    // trimmed to what is visible
  std::map<char32_t, Character> characters;  // of scene texts, at their one size
};

// Every picture of the wanted code points that a colour bitmap font (CBDT, as Noto Color Emoji) has.
std::map<char32_t, ImageRgba> load_emoji_font(const std::string& path, const std::vector<char32_t>& wanted);
// The same from a folder of PNGs named by hexadecimal code point, as gemojione's.
std::map<char32_t, ImageRgba> load_emoji_folder(const std::string& folder, const std::vector<char32_t>& wanted);
// The characters that scene texts use: Latin ones and digits from one font, Chinese ones from the other.
std::map<char32_t, Character> load_characters(const std::string& latin_font, const std::string& chinese_font);
// All characters that scene texts may hold.
std::u32string scene_characters();
// Made-up pictures and characters, distinct for each code point: scenes without any font, for tests.
Glyphs drawn_glyphs();

// Thread-safe once made. Glyphs are scaled once for each size that scenes use.
class Renderer {
 public:
  // Throws Error where a concept of `concepts` (indices) or a character has no picture.
  Renderer(const Glyphs& glyphs, const std::vector<int>& concept_indices);
  Renderer(Renderer&&) noexcept;
  ~Renderer();
  Image render(const Scene& scene) const;  // [112, 112]

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One picture in the middle of a square canvas, its longer side `size` pixels.
Image centred(const ImageRgba& picture, int size, std::array<std::uint8_t, 3> ground = {255, 255, 255});

}  // namespace skymm
