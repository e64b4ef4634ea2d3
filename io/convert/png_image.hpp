// SPDX-License-Identifier: MIT
// Private to io/convert: one PNG file as 8-bit pixels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/shape.hpp"

namespace isaribi::convert {

struct PngImage {
  core::Shape shape;  ///< [H, W, C]; C: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
  std::vector<std::uint8_t> pixels;
};

/// Grey of 1, 2 and 4 bits is spread over 0 ... 255, 16 bits are rounded to 8, a palette becomes
/// its colours (transparency of a palette is dropped). @throws DataError: not a PNG, damaged, cut
/// short.
PngImage read_png(const std::string& path);
/// Reads the header only. The same shape as read_png gives.
core::Shape read_png_shape(const std::string& path);

}  // namespace isaribi::convert
