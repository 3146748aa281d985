// A part of a resized picture, computed without the rest: what a centre crop keeps.
#pragma once

#include "io/image.hpp"

namespace skymm {

struct Window {
  int x = 0, y = 0, width = 0, height = 0;
};

// The same pixels as the window of resize_bicubic(image, width, height), which it must lie in.
Image resize_bicubic_window(const Image& image, int width, int height, const Window& window);

}  // namespace skymm
