// SPDX-License-Identifier: MIT
#include "io/report/heat_map.hpp"

#include <cairo.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/error.hpp"

namespace isaribi::report {
namespace {

constexpr double kCell = 64, kHeight = 24, kMargin = 16, kTitle = 36, kLetter = 7.4;
constexpr double kScale = 2;  // pixels per point, for sharp text

struct Color {
  double r, g, b;
};

/// From orange (half as fast, or worse) by white to blue (three times as fast, or better).
Color color_of(double ratio) {
  const Color orange{0.90, 0.62, 0.0}, white{1, 1, 1}, blue{0.34, 0.71, 0.91};
  const double t = ratio < 1 ? std::min(std::log(1 / ratio) / std::log(2.0), 1.0)
                             : std::min(std::log(ratio) / std::log(3.0), 1.0);
  const Color& end = ratio < 1 ? orange : blue;
  return {white.r + t * (end.r - white.r), white.g + t * (end.g - white.g),
          white.b + t * (end.b - white.b)};
}

void say(cairo_t* c, double x, double y, const std::string& text, double align) {
  cairo_text_extents_t size;
  cairo_text_extents(c, text.c_str(), &size);
  cairo_move_to(c, x - align * size.x_advance, y);
  cairo_show_text(c, text.c_str());
}

void draw(cairo_t* c, const HeatMap& map, double left) {
  cairo_set_source_rgb(c, 0, 0, 0);
  cairo_set_font_size(c, 15);
  say(c, kMargin, kMargin + 12, map.title, 0);
  cairo_set_font_size(c, 12);
  const double top = kMargin + kTitle;
  for (std::size_t j = 0; j < map.columns.size(); ++j) {
    say(c, left + (static_cast<double>(j) + 0.5) * kCell, top - 6, map.columns[j], 0.5);
  }
  for (std::size_t i = 0; i < map.rows.size(); ++i) {
    const double y = top + static_cast<double>(i) * kHeight;
    cairo_set_source_rgb(c, 0, 0, 0);
    say(c, left - 8, y + 16, map.rows[i], 1);
    for (std::size_t j = 0; j < map.columns.size(); ++j) {
      const double value = map.values[i][j];
      const double x = left + static_cast<double>(j) * kCell;
      const Color color = value > 0 ? color_of(value) : Color{0.93, 0.93, 0.93};
      cairo_set_source_rgb(c, color.r, color.g, color.b);
      cairo_rectangle(c, x, y, kCell - 2, kHeight - 2);
      cairo_fill(c);
      cairo_set_source_rgb(c, 0, 0, 0);
      if (value > 0) say(c, x + kCell / 2 - 1, y + 16, fmt::format("{:.2f}", value), 0.5);
    }
  }
}

}  // namespace

void write_png(const HeatMap& map, const std::string& path) {
  std::size_t letters = 0;
  for (const std::string& row : map.rows) letters = std::max(letters, row.size());
  const double left = kMargin + 8 + kLetter * static_cast<double>(letters);
  const double width = left + kCell * static_cast<double>(map.columns.size()) + kMargin;
  const double height = 2 * kMargin + kTitle + kHeight * static_cast<double>(map.rows.size());
  const std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width * kScale),
                                 static_cast<int>(height * kScale)),
      cairo_surface_destroy);
  const std::unique_ptr<cairo_t, void (*)(cairo_t*)> c(cairo_create(surface.get()), cairo_destroy);
  cairo_scale(c.get(), kScale, kScale);
  cairo_set_source_rgb(c.get(), 1, 1, 1);
  cairo_paint(c.get());
  cairo_select_font_face(c.get(), "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  draw(c.get(), map, left);
  const cairo_status_t status = cairo_surface_write_to_png(surface.get(), path.c_str());
  if (status != CAIRO_STATUS_SUCCESS)
    throw core::DataError(path,
                          fmt::format("cannot be written: {}", cairo_status_to_string(status)),
                          "name a file in a folder that exists and may be written to");
}

}  // namespace isaribi::report
