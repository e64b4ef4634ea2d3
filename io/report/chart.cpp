// SPDX-License-Identifier: MIT
#include "io/report/chart.hpp"

#include <cairo-svg.h>
#include <cairo.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <memory>
#include <utility>

#include "core/error.hpp"
#include "io/report/axis.hpp"

namespace isaribi::report {
namespace {

constexpr double kWidth = 760, kHeight = 440;
constexpr double kLeft = 78, kRight = 68, kTop = 46, kBottom = 56;

struct Rgb {
  double r, g, b;
};
constexpr std::array<Rgb, 7> kPalette = {{{0.00, 0.45, 0.70},
                                          {0.84, 0.37, 0.00},
                                          {0.00, 0.62, 0.45},
                                          {0.80, 0.47, 0.65},
                                          {0.90, 0.62, 0.00},
                                          {0.34, 0.71, 0.91},
                                          {0.20, 0.20, 0.20}}};
constexpr Rgb kInk = {0.16, 0.18, 0.22}, kSoft = {0.45, 0.48, 0.53}, kGrid = {0.90, 0.91, 0.93};

using Surface = std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)>;
using Canvas = std::unique_ptr<cairo_t, decltype(&cairo_destroy)>;

enum class Anchor { left, middle, right };

/// Draws one chart onto one Cairo context.
class Painter {
 public:
  Painter(cairo_t* c, const Chart& chart) : c_(c), chart_(chart) {
    std::vector<double> xs, ys;
    for (const Series& s : chart.series) {
      xs.insert(xs.end(), s.x.begin(), s.x.end());
      ys.insert(ys.end(), s.y.begin(), s.y.end());
    }
    x_ = make_axis(xs, false, false, 0.02, 8);
    std::erase_if(ys, [](double y) { return !std::isfinite(y); });
    std::sort(ys.begin(), ys.end());
    const double hidden = (1 - chart.focus) * static_cast<double>(ys.size());
    ys.erase(ys.begin(), ys.begin() + static_cast<std::ptrdiff_t>(hidden));
    if (chart.from_zero) ys.push_back(0);
    const bool stacked = !chart.series.empty() && chart.series.front().filled;
    y_ = make_axis(ys, chart.log_y, chart.percent, stacked ? 0 : 0.06, 6);
  }

  void draw() {
    ink({1, 1, 1});
    cairo_paint(c_);
    grid();
    cairo_save(c_);
    cairo_rectangle(c_, kLeft, kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom);
    cairo_clip(c_);
    for (const Series& s : chart_.series) curve(s);
    cairo_restore(c_);
    notes();
    titles();
    legend();
  }

 private:
  double px(double x) const { return kLeft + x_.place(x) * (kWidth - kLeft - kRight); }
  double py(double y) const { return kHeight - kBottom - y_.place(y) * (kHeight - kTop - kBottom); }
  void ink(const Rgb& color) { cairo_set_source_rgb(c_, color.r, color.g, color.b); }

  double text_width(const std::string& text) {
    cairo_text_extents_t e;
    cairo_text_extents(c_, text.c_str(), &e);
    return e.x_advance;
  }

  void text(double x, double y, const std::string& text, double size, const Rgb& color,
            Anchor anchor, bool bold = false) {
    cairo_select_font_face(c_, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c_, size);
    ink(color);
    const double shift = anchor == Anchor::left ? 0 : anchor == Anchor::middle ? 0.5 : 1;
    cairo_move_to(c_, x - shift * text_width(text), y);
    cairo_show_text(c_, text.c_str());
  }

  void line(double x0, double y0, double x1, double y1, const Rgb& color) {
    ink(color);
    cairo_set_line_width(c_, 1);
    cairo_move_to(c_, x0, y0);
    cairo_line_to(c_, x1, y1);
    cairo_stroke(c_);
  }

  void grid() {
    for (const Tick& t : y_.ticks) {
      line(kLeft, py(t.value), kWidth - kRight, py(t.value), kGrid);
      text(kLeft - 9, py(t.value) + 4, t.label, 11.5, kSoft, Anchor::right);
    }
    for (const Tick& t : x_.ticks) {
      line(px(t.value), kHeight - kBottom, px(t.value), kHeight - kBottom + 5, kSoft);
      text(px(t.value), kHeight - kBottom + 19, t.label, 11.5, kSoft, Anchor::middle);
    }
    line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, kSoft);
  }

  void pen(const Series& s) {
    const Rgb& color = kPalette[static_cast<std::size_t>(s.color) % kPalette.size()];
    cairo_set_source_rgba(c_, color.r, color.g, color.b, s.faint ? 0.45 : 1);
    cairo_set_line_width(c_, s.faint ? 1.4 : 2.2);
    cairo_set_line_join(c_, CAIRO_LINE_JOIN_ROUND);
  }

  void area(const Series& s) {
    cairo_move_to(c_, px(s.x.front()), py(y_.low));
    for (std::size_t i = 0; i < s.x.size(); ++i) cairo_line_to(c_, px(s.x[i]), py(s.y[i]));
    cairo_line_to(c_, px(s.x.back()), py(y_.low));
    cairo_fill(c_);
  }

  void curve(const Series& s) {
    pen(s);
    if (s.filled) return area(s);
    bool down = false;
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const bool good = std::isfinite(s.y[i]) && (!chart_.log_y || s.y[i] > 0);
      if (good && down) cairo_line_to(c_, px(s.x[i]), py(s.y[i]));
      if (good && !down) cairo_move_to(c_, px(s.x[i]), py(s.y[i]));
      down = good;
    }
    cairo_stroke(c_);
    for (std::size_t i = 0; s.markers && i < s.x.size(); ++i) {
      if (!std::isfinite(s.y[i])) continue;
      cairo_arc(c_, px(s.x[i]), py(s.y[i]), 3.4, 0, 6.2832);
      cairo_fill(c_);
    }
  }

  // Beside the last point of each curve, moved apart where they would overlap.
  void notes() {
    std::vector<std::pair<double, const Series*>> at;
    for (const Series& s : chart_.series) {
      if (!s.note.empty() && std::isfinite(s.y.back())) at.emplace_back(py(s.y.back()), &s);
    }
    std::sort(at.begin(), at.end());
    double free = kTop;
    for (const auto& [y, s] : at) {
      free = std::max(free, y);
      text(px(s->x.back()) + 8, free + 4, s->note, 12,
           kPalette[static_cast<std::size_t>(s->color) % kPalette.size()], Anchor::left, true);
      free += 15;
    }
  }

  void titles() {
    text(kLeft, 26, chart_.title, 16, kInk, Anchor::left, true);
    text(kLeft + (kWidth - kLeft - kRight) / 2, kHeight - 14, chart_.x_label, 12.5, kInk,
         Anchor::middle);
    cairo_save(c_);
    cairo_translate(c_, 18, kTop + (kHeight - kTop - kBottom) / 2);
    cairo_rotate(c_, -1.5707963);
    text(0, 0, chart_.y_label, 12.5, kInk, Anchor::middle);
    cairo_restore(c_);
  }

  // Right-aligned in the line of the title, so that it never covers a curve.
  void legend() {
    double x = kWidth - 24;
    for (std::size_t i = chart_.series.size(); i-- > 0;) {
      // Of stacked areas the lowest is drawn last and named first.
      const bool stacked = chart_.series[i].filled;
      const Series& s = chart_.series[stacked ? chart_.series.size() - 1 - i : i];
      if (s.label.empty()) continue;
      text(x, 26, s.label, 12, kInk, Anchor::right);
      x -= text_width(s.label) + 30;
      pen(s);
      if (s.filled) cairo_set_line_width(c_, 10);
      cairo_move_to(c_, x + 2, 22);
      cairo_line_to(c_, x + 24, 22);
      cairo_stroke(c_);
      x -= 16;
    }
  }

  cairo_t* c_;
  const Chart& chart_;
  Axis x_, y_;
};

cairo_status_t append(void* closure, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(closure)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

void write_png(const Chart& chart, const std::string& path) {
  constexpr double scale = 2;
  const Surface surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(kWidth * scale),
                                 static_cast<int>(kHeight * scale)),
      &cairo_surface_destroy);
  const Canvas canvas(cairo_create(surface.get()), &cairo_destroy);
  cairo_scale(canvas.get(), scale, scale);
  Painter(canvas.get(), chart).draw();
  const cairo_status_t status = cairo_surface_write_to_png(surface.get(), path.c_str());
  if (status != CAIRO_STATUS_SUCCESS) {
    throw core::DataError(path, std::string("cannot be written: ") + cairo_status_to_string(status),
                          "check free space and permissions of the run folder");
  }
}

std::string svg_text(const Chart& chart) {
  std::string svg;
  {
    const Surface surface(cairo_svg_surface_create_for_stream(&append, &svg, kWidth, kHeight),
                          &cairo_surface_destroy);
    const Canvas canvas(cairo_create(surface.get()), &cairo_destroy);
    Painter(canvas.get(), chart).draw();
  }
  const std::size_t start = svg.find("<svg");  // the XML declaration has no place inside a page
  return start == std::string::npos ? svg : svg.substr(start);
}

}  // namespace isaribi::report
