// SPDX-License-Identifier: MIT
#include "io/convert/png_image.hpp"

#include <png.h>

#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/error.hpp"

namespace isaribi::convert {
namespace {

/// libpng reports errors by a call that must not return; it jumps back into the step that called
/// libpng. Each step therefore is a small function without C++ objects of its own.
struct Decoder {
  explicit Decoder(const std::string& path_) : path(path_) {
    file.reset(std::fopen(path.c_str(), "rb"));
    if (!file) throw core::DataError(path, std::string("cannot open: ") + std::strerror(errno));
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, &Decoder::on_error,
                                 &Decoder::on_warning);
    info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) throw core::InternalError("libpng gives no decoder");
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }

  void run(bool (*step)(Decoder&)) {
    if (step(*this)) return;
    throw core::DataError(path, "cannot be read as a PNG image: " + cause,
                          "the file is damaged, cut short, or no PNG: repair or remove it");
  }
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<Decoder*>(png_get_error_ptr(png));
    self->cause = text;
    std::longjmp(self->back, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}

  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::string path, cause;
  std::unique_ptr<std::FILE, Close> file;
  png_structp png = nullptr;
  png_infop info = nullptr;
  png_bytep pixels = nullptr;
  std::size_t row_bytes = 0;
  std::jmp_buf back;
};

/// Reads the header and asks for 8-bit samples.
bool read_header(Decoder& d) {
  if (setjmp(d.back) != 0) return false;
  png_init_io(d.png, d.file.get());
  png_read_info(d.png, d.info);
  const png_byte colour = png_get_color_type(d.png, d.info);
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(d.png);
  if (colour == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(d.png, d.info) < 8)
    png_set_expand_gray_1_2_4_to_8(d.png);
  if (png_get_bit_depth(d.png, d.info) == 16) png_set_scale_16(d.png);
  png_set_interlace_handling(d.png);
  png_read_update_info(d.png, d.info);
  d.row_bytes = png_get_rowbytes(d.png, d.info);
  return true;
}

bool read_pixels(Decoder& d) {
  if (setjmp(d.back) != 0) return false;
  const png_uint_32 height = png_get_image_height(d.png, d.info);
  const int passes = png_get_interlace_type(d.png, d.info) == PNG_INTERLACE_NONE ? 1 : 7;
  for (int pass = 0; pass < passes; ++pass) {
    for (png_uint_32 y = 0; y < height; ++y)
      png_read_row(d.png, d.pixels + y * d.row_bytes, nullptr);
  }
  png_read_end(d.png, nullptr);
  return true;
}

core::Shape shape_of(const Decoder& d) {
  return {png_get_image_height(d.png, d.info), png_get_image_width(d.png, d.info),
          png_get_channels(d.png, d.info)};
}

}  // namespace

PngImage read_png(const std::string& path) {
  Decoder decoder(path);
  decoder.run(&read_header);
  PngImage image;
  image.shape = shape_of(decoder);
  image.pixels.resize(static_cast<std::size_t>(image.shape.count()));
  if (decoder.row_bytes * static_cast<std::size_t>(image.shape[0]) != image.pixels.size())
    throw core::InternalError(path + ": libpng rows of unexpected size");
  decoder.pixels = image.pixels.data();
  decoder.run(&read_pixels);
  return image;
}

core::Shape read_png_shape(const std::string& path) {
  Decoder decoder(path);
  decoder.run(&read_header);
  return shape_of(decoder);
}

}  // namespace isaribi::convert
