// The parts of render.hpp that need FreeType or a folder of pictures.
#include <ft2build.h>
#include FT_FREETYPE_H

#include <filesystem>
#include <fstream>

#include "core/error.hpp"
#include "io/picturebook/render.hpp"

namespace skymm {

namespace {

constexpr int latin_pixels = 20, chinese_pixels = 22;

struct Face {
  FT_Library library = nullptr;
  FT_Face face = nullptr;

  explicit Face(const std::string& path) {
    check(FT_Init_FreeType(&library) == 0, "FreeType does not start");
    if (const FT_Error error = FT_New_Face(library, path.c_str(), 0, &face)) {
      FT_Done_FreeType(library);
      fail("font {} cannot be read (FreeType error {}); fetch its package again", path, error);
    }
  }
  Face(const Face&) = delete;
  Face& operator=(const Face&) = delete;
  ~Face() {
    FT_Done_Face(face);
    FT_Done_FreeType(library);
  }
};

ImageRgba trimmed(const ImageRgba& picture) {
  int left = picture.width, top = picture.height, right = -1, bottom = -1;
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < picture.width; ++x)
      if (picture.rgba[(static_cast<std::size_t>(y) * picture.width + x) * 4 + 3] > 8) {
        left = std::min(left, x), right = std::max(right, x);
        top = std::min(top, y), bottom = std::max(bottom, y);
      }
  if (right < 0) return picture;
  ImageRgba out{right - left + 1, bottom - top + 1, {}};
  for (int y = top; y <= bottom; ++y) {
    const auto row = picture.rgba.begin() + (static_cast<std::ptrdiff_t>(y) * picture.width + left) * 4;
    out.rgba.insert(out.rgba.end(), row, row + static_cast<std::ptrdiff_t>(out.width) * 4);
  }
  return out;
}

// FreeType's BGRA is premultiplied.
ImageRgba from_bgra(const FT_Bitmap& bitmap) {
  ImageRgba out{static_cast<int>(bitmap.width), static_cast<int>(bitmap.rows), {}};
  for (unsigned y = 0; y < bitmap.rows; ++y) {
    const unsigned char* p = bitmap.buffer + static_cast<std::ptrdiff_t>(y) * bitmap.pitch;
    for (unsigned x = 0; x < bitmap.width; ++x, p += 4) {
      const unsigned a = p[3];
      for (int c : {2, 1, 0})
        out.rgba.push_back(static_cast<std::uint8_t>(a ? std::min(255u, (p[c] * 255u + a / 2) / a) : 0));
      out.rgba.push_back(p[3]);
    }
  }
  return out;
}

}  // namespace

std::map<char32_t, ImageRgba> load_emoji_font(const std::string& path, const std::vector<char32_t>& wanted) {
  Face font(path);
  check(FT_HAS_COLOR(font.face) && font.face->num_fixed_sizes > 0 && FT_Select_Size(font.face, 0) == 0,
        "font {} has no colour bitmaps; Noto Color Emoji in its CBDT form is needed", path);
  std::map<char32_t, ImageRgba> pictures;
  for (const char32_t code : wanted) {
    const FT_UInt glyph = FT_Get_Char_Index(font.face, code);
    if (glyph == 0 || FT_Load_Glyph(font.face, glyph, FT_LOAD_COLOR) != 0) continue;
    if (font.face->glyph->bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || font.face->glyph->bitmap.width == 0) continue;
    pictures.emplace(code, trimmed(from_bgra(font.face->glyph->bitmap)));
  }
  return pictures;
}

std::map<char32_t, ImageRgba> load_emoji_folder(const std::string& folder, const std::vector<char32_t>& wanted) {
  std::map<char32_t, ImageRgba> pictures;
  for (const char32_t code : wanted) {
    const std::string path = fmt::format("{}/{:04X}.png", folder, static_cast<unsigned>(code));
    std::ifstream file(path, std::ios::binary);
    if (!file) continue;
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    try {
      pictures.emplace(code, trimmed(decode_image_rgba(bytes)));
    } catch (const Error& error) {
      fail("{}: {}", path, error.message());
    }
  }
  return pictures;
}

std::map<char32_t, Character> load_characters(const std::string& latin_font, const std::string& chinese_font) {
  Face latin(latin_font), chinese(chinese_font);
  check(
      FT_Set_Pixel_Sizes(latin.face, 0, latin_pixels) == 0 && FT_Set_Pixel_Sizes(chinese.face, 0, chinese_pixels) == 0,
      "fonts {} and {} cannot be scaled", latin_font, chinese_font);
  std::map<char32_t, Character> characters;
  for (const char32_t code : scene_characters()) {
    const FT_Face face = code > 0x7F ? chinese.face : latin.face;
    const FT_UInt glyph = FT_Get_Char_Index(face, code);
    check(glyph != 0 && FT_Load_Glyph(face, glyph, FT_LOAD_RENDER | FT_LOAD_NO_BITMAP) == 0,
          "font {} has no character U+{:04X}", code > 0x7F ? chinese_font : latin_font, static_cast<unsigned>(code));
    const FT_GlyphSlot slot = face->glyph;
    Character c{slot->bitmap_left,
                slot->bitmap_top,
                static_cast<int>(slot->advance.x >> 6),
                static_cast<int>(slot->bitmap.width),
                static_cast<int>(slot->bitmap.rows),
                {}};
    for (int y = 0; y < c.height; ++y) {
      const unsigned char* row = slot->bitmap.buffer + static_cast<std::ptrdiff_t>(y) * slot->bitmap.pitch;
      c.coverage.insert(c.coverage.end(), row, row + c.width);
    }
    characters.emplace(code, std::move(c));
  }
  return characters;
}

}  // namespace skymm
