// SPDX-License-Identifier: MIT
// Pooling, channels in vectors. Rows whose windows touch padding go pixel by pixel through the same
// kernel with the taps inside the image only; backward passes of overlapping windows are plain
// loops over samples.
#include "backends/simd/pool.hpp"

#include <algorithm>
#include <cstring>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr int kMaxTaps = 64;  // larger windows (other than global) are rare: plain loops

/// The taps of the window at output row p that lie inside the image for columns [q, q + 1).
struct Window {
  std::ptrdiff_t offset[kMaxTaps];
  int position[kMaxTaps];
  int taps = 0;
};

/// Extents shared by all pooling passes.
struct Extents {
  std::int64_t n, h, w, c, p, q;
};

Extents extents(const core::Shape& x, const core::Shape& y) {
  return {x[0], x[1], x[2], x[3], y[1], y[2]};
}

/// Window of output (p, q): offsets from the first element of the image.
void fill_window(const api::PoolGeometry& g, const Extents& e, std::int64_t p, std::int64_t q,
                 Window& window) {
  window.taps = 0;
  for (std::int64_t r = 0; r < g.kernel_h; ++r) {
    const std::int64_t h = p * g.stride_h - g.pad_top + r;
    if (h < 0 || h >= e.h) continue;
    for (std::int64_t s = 0; s < g.kernel_w; ++s) {
      const std::int64_t w = q * g.stride_w - g.pad_left + s;
      if (w < 0 || w >= e.w) continue;
      window.offset[window.taps] = (h * e.w + w) * e.c;
      window.position[window.taps++] = static_cast<int>(h * e.w + w);
    }
  }
}

/// Columns whose windows lie inside the image horizontally.
Range inner_columns(const api::PoolGeometry& g, const Extents& e) {
  const std::int64_t first = (g.pad_left + g.stride_w - 1) / g.stride_w;
  const std::int64_t room = e.w + g.pad_left - g.kernel_w;
  const std::int64_t end = room < 0 ? 0 : room / g.stride_w + 1;
  return {std::min(first, e.q), std::clamp(end, std::min(first, e.q), e.q)};
}

/// Calls row(window, q, columns) for runs of pixels of output row p that share one window shape.
template <class Row>
void for_runs(const api::PoolGeometry& g, const Extents& e, std::int64_t p, const Row& row) {
  const Range inner = inner_columns(g, e);
  Window window;
  const auto run = [&](std::int64_t q, std::int64_t columns) {
    if (columns <= 0) return;
    fill_window(g, e, p, q, window);
    row(window, q, columns);
  };
  for (std::int64_t q = 0; q < inner.begin; ++q) run(q, 1);
  run(inner.begin, inner.end - inner.begin);
  for (std::int64_t q = inner.end; q < e.q; ++q) run(q, 1);
}

bool ours(const api::PoolGeometry& g) {
  return g.kernel_h * g.kernel_w <= kMaxTaps;
}

/// Whether no input pixel belongs to two windows.
bool disjoint(const api::PoolGeometry& g) {
  return g.stride_h >= g.kernel_h && g.stride_w >= g.kernel_w;
}

}  // namespace

void Pool::do_max_forward(const api::MaxPoolForward& args) {
  if (!owns(api::Op::max_pool_forward, args.x.dtype()) || !ours(args.geometry)) {
    context_.fall_back(api::Op::max_pool_forward, args.x).pool().max_forward(args);
    return;
  }
  const Extents e = extents(args.x.shape(), args.y.shape());
  const float* x = args.x.data<float>();
  float* y = args.y.data<float>();
  int* argmax = args.argmax.data<std::int32_t>();
  parallel_ranges(e.n * e.p, args.x.count(), 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      const std::int64_t n = i / e.p;
      for_runs(args.geometry, e, i % e.p,
               [&](const Window& window, std::int64_t q, std::int64_t columns) {
                 PoolRow a{};
                 a.x = x + n * e.h * e.w * e.c;
                 a.x_pixel = args.geometry.stride_w * e.c;
                 a.offset = window.offset;
                 a.taps = window.taps;
                 a.y = y + (i * e.q + q) * e.c;
                 a.columns = columns;
                 a.channels = e.c;
                 a.argmax = argmax + (i * e.q + q) * e.c;
                 a.tap_position = window.position;
                 a.position_step = static_cast<int>(args.geometry.stride_w);
                 context_.kernels().max_pool_row(a);
               });
    }
  });
}

void Pool::do_max_backward(const api::MaxPoolBackward& args) {
  if (!owns(api::Op::max_pool_backward, args.dy.dtype()) || !ours(args.geometry)) {
    context_.fall_back(api::Op::max_pool_backward, args.dx).pool().max_backward(args);
    return;
  }
  const Extents e = extents(args.dx.shape(), args.dy.shape());
  const api::PoolGeometry& g = args.geometry;
  const float* dy = args.dy.data<float>();
  const int* argmax = args.argmax.data<std::int32_t>();
  float* dx = args.dx.data<float>();
  // Windows that tile the image exactly write every pixel; else zeros come first.
  const bool covers = g.stride_h == g.kernel_h && g.stride_w == g.kernel_w &&
                      e.p * g.stride_h >= e.h + g.pad_top && e.q * g.stride_w >= e.w + g.pad_left;
  parallel_ranges(e.n, args.dx.count(), 1, [&](Range r) {
    for (std::int64_t n = r.begin; n < r.end; ++n) {
      float* image = dx + n * e.h * e.w * e.c;
      if (!(disjoint(g) && covers)) {
        std::memset(image, 0, static_cast<std::size_t>(e.h * e.w * e.c) * sizeof(float));
      }
      if (!disjoint(g)) {
        for (std::int64_t i = n * e.p * e.q; i < (n + 1) * e.p * e.q; ++i) {
          for (std::int64_t c = 0; c < e.c; ++c) {
            image[argmax[i * e.c + c] * e.c + c] += dy[i * e.c + c];
          }
        }
        continue;
      }
      for (std::int64_t p = 0; p < e.p; ++p) {
        for_runs(g, e, p, [&](const Window& window, std::int64_t q, std::int64_t columns) {
          const std::int64_t at = ((n * e.p + p) * e.q + q) * e.c;
          PoolBackwardRow a{};
          a.dy = dy + at;
          a.argmax = argmax + at;
          a.dx = image;
          a.dx_pixel = g.stride_w * e.c;
          a.offset = window.offset;
          a.tap_position = window.position;
          a.taps = window.taps;
          a.position_step = static_cast<int>(g.stride_w);
          a.columns = columns;
          a.channels = e.c;
          context_.kernels().max_pool_backward_row(a);
        });
      }
    }
  });
}

void Pool::do_average_forward(const api::AveragePoolForward& args) {
  if (!owns(api::Op::average_pool_forward, args.x.dtype()) || !ours(args.geometry)) {
    context_.fall_back(api::Op::average_pool_forward, args.x).pool().average_forward(args);
    return;
  }
  const Extents e = extents(args.x.shape(), args.y.shape());
  const api::PoolGeometry& g = args.geometry;
  const float* x = args.x.data<float>();
  float* y = args.y.data<float>();
  parallel_ranges(e.n * e.p, args.x.count(), 1, [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      for_runs(g, e, i % e.p, [&](const Window& window, std::int64_t q, std::int64_t columns) {
        float* to = y + (i * e.q + q) * e.c;
        if (window.taps == 0) {  // a window that lies in the padding altogether
          std::fill(to, to + columns * e.c, 0.0f);
          return;
        }
        PoolRow a{};
        a.x = x + i / e.p * e.h * e.w * e.c;
        a.x_pixel = g.stride_w * e.c;
        a.offset = window.offset;
        a.taps = window.taps;
        a.y = to;
        a.columns = columns;
        a.channels = e.c;
        a.scale =
            1.0f / static_cast<float>(g.count_include_pad ? g.kernel_h * g.kernel_w : window.taps);
        context_.kernels().average_pool_row(a);
      });
    }
  });
}

void Pool::do_average_backward(const api::AveragePoolBackward& args) {
  if (!owns(api::Op::average_pool_backward, args.dy.dtype()) || !ours(args.geometry)) {
    context_.fall_back(api::Op::average_pool_backward, args.dx).pool().average_backward(args);
    return;
  }
  const Extents e = extents(args.dx.shape(), args.dy.shape());
  const api::PoolGeometry& g = args.geometry;
  const float* dy = args.dy.data<float>();
  float* dx = args.dx.data<float>();
  const Kernels& kernels = context_.kernels();
  parallel_ranges(e.n, args.dx.count(), 1, [&](Range r) {
    for (std::int64_t n = r.begin; n < r.end; ++n) {
      float* image = dx + n * e.h * e.w * e.c;
      std::memset(image, 0, static_cast<std::size_t>(e.h * e.w * e.c) * sizeof(float));
      for (std::int64_t p = 0; p < e.p; ++p) {
        for_runs(g, e, p, [&](const Window& window, std::int64_t q, std::int64_t columns) {
          if (window.taps == 0) return;
          const float scale =
              1.0f /
              static_cast<float>(g.count_include_pad ? g.kernel_h * g.kernel_w : window.taps);
          for (std::int64_t j = 0; j < columns; ++j) {
            const float* from = dy + ((n * e.p + p) * e.q + q + j) * e.c;
            float* to = image + j * g.stride_w * e.c;
            for (int t = 0; t < window.taps; ++t) {
              kernels.scale_add(scale, from, to + window.offset[t], e.c);
            }
          }
        });
      }
    }
  });
}

void Pool::do_global_average_forward(const api::GlobalAverageForward& args) {
  if (!owns(api::Op::global_average_forward, args.x.dtype())) {
    context_.fall_back(api::Op::global_average_forward, args.x).pool().global_average_forward(args);
    return;
  }
  const core::Shape& s = args.x.shape();
  const std::int64_t pixels = s[1] * s[2], c = s[3];
  const float scale = 1.0f / static_cast<float>(pixels);
  const Kernels& kernels = context_.kernels();
  parallel_ranges(s[0], args.x.count(), 1, [&](Range r) {
    for (std::int64_t n = r.begin; n < r.end; ++n) {
      const float* x = args.x.data<float>() + n * pixels * c;
      float* y = args.y.data<float>() + n * c;
      kernels.fill(0.0f, y, c);
      for (std::int64_t i = 0; i < pixels; ++i) kernels.scale_add(1.0f, x + i * c, y, c);
      kernels.axpby(scale, y, 0.0f, y, c);
    }
  });
}

void Pool::do_global_average_backward(const api::GlobalAverageBackward& args) {
  if (!owns(api::Op::global_average_backward, args.dy.dtype())) {
    context_.fall_back(api::Op::global_average_backward, args.dx)
        .pool()
        .global_average_backward(args);
    return;
  }
  const core::Shape& s = args.dx.shape();
  const std::int64_t pixels = s[1] * s[2], c = s[3];
  const float scale = 1.0f / static_cast<float>(pixels);
  const Kernels& kernels = context_.kernels();
  parallel_ranges(s[0], args.dx.count(), 1, [&](Range r) {
    for (std::int64_t n = r.begin; n < r.end; ++n) {
      const float* dy = args.dy.data<float>() + n * c;
      float* dx = args.dx.data<float>() + n * pixels * c;
      for (std::int64_t i = 0; i < pixels; ++i) kernels.axpby(scale, dy, 0.0f, dx + i * c, c);
    }
  });
}

}  // namespace isaribi::simd
