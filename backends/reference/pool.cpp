// SPDX-License-Identifier: MIT
// Pooling: each output looks at one window, clipped to the image.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// The taps of output (p, q) inside an image of h x w, and what an average divides by.
struct Window {
  std::int64_t top, bottom, left, right;  // rows [top, bottom), columns [left, right)
  double divisor;
};

Window window_of(const api::PoolGeometry& g, std::int64_t p, std::int64_t q,
                 const core::Shape& image) {
  const std::int64_t h = p * g.stride_h - g.pad_top, w = q * g.stride_w - g.pad_left;
  Window v{};
  v.top = std::max<std::int64_t>(h, 0);
  v.left = std::max<std::int64_t>(w, 0);
  v.bottom = std::min(h + g.kernel_h, image[1]);
  v.right = std::min(w + g.kernel_w, image[2]);
  v.divisor = static_cast<double>(g.count_include_pad ? g.kernel_h * g.kernel_w
                                                      : (v.bottom - v.top) * (v.right - v.left));
  return v;
}

/// Calls body(n, p, q, c) for every element of a [N, P, Q, C] tensor, samples in parallel.
template <typename Body>
void for_each_output(const core::Shape& y, const Body& body) {
#pragma omp parallel for
  for (std::int64_t n = 0; n < y[0]; ++n) {
    for (std::int64_t p = 0; p < y[1]; ++p) {
      for (std::int64_t q = 0; q < y[2]; ++q) {
        for (std::int64_t c = 0; c < y[3]; ++c) body(n, p, q, c);
      }
    }
  }
}

template <typename T>
void run_max_forward(const api::MaxPoolForward& a) {
  const View<T> x(a.x), y(a.y);
  const View<std::int32_t> argmax(a.argmax);
  const std::int64_t width = a.x.shape()[2];
  for_each_output(a.y.shape(), [&](auto n, auto p, auto q, auto c) {
    const Window v = window_of(a.geometry, p, q, a.x.shape());
    T best = x(n, v.top, v.left, c);
    std::int64_t where = v.top * width + v.left;
    for (std::int64_t h = v.top; h < v.bottom; ++h) {
      for (std::int64_t w = v.left; w < v.right; ++w) {
        const T value = x(n, h, w, c);
        if (value > best || (std::isnan(value) && !std::isnan(best))) {
          best = value;
          where = h * width + w;
        }
      }
    }
    y(n, p, q, c) = best;
    argmax(n, p, q, c) = static_cast<std::int32_t>(where);
  });
}

/// dx of a whole batch summed in double, then rounded once.
template <typename T>
void store(const std::vector<double>& sums, const core::Tensor& dx) {
  for (std::int64_t k = 0; k < dx.count(); ++k)
    dx.data<T>()[k] = static_cast<T>(sums[static_cast<std::size_t>(k)]);
}

template <typename T>
void run_max_backward(const api::MaxPoolBackward& a) {
  const View<T> dy(a.dy);
  const View<std::int32_t> argmax(a.argmax);
  const core::Shape& s = a.dx.shape();
  std::vector<double> sums(static_cast<std::size_t>(a.dx.count()), 0.0);
  for_each_output(a.dy.shape(), [&](auto n, auto p, auto q, auto c) {
    const std::int64_t pixel = n * s[1] * s[2] + argmax(n, p, q, c);
    sums[static_cast<std::size_t>(pixel * s[3] + c)] += dy(n, p, q, c);
  });
  store<T>(sums, a.dx);
}

template <typename T>
void run_average_forward(const api::AveragePoolForward& a) {
  const View<T> x(a.x), y(a.y);
  for_each_output(a.y.shape(), [&](auto n, auto p, auto q, auto c) {
    const Window v = window_of(a.geometry, p, q, a.x.shape());
    double sum = 0.0;
    for (std::int64_t h = v.top; h < v.bottom; ++h) {
      for (std::int64_t w = v.left; w < v.right; ++w) sum += x(n, h, w, c);
    }
    y(n, p, q, c) = static_cast<T>(sum / v.divisor);
  });
}

template <typename T>
void run_average_backward(const api::AveragePoolBackward& a) {
  const View<T> dy(a.dy);
  const core::Shape& s = a.dx.shape();
  std::vector<double> sums(static_cast<std::size_t>(a.dx.count()), 0.0);
  for_each_output(a.dy.shape(), [&](auto n, auto p, auto q, auto c) {
    const Window v = window_of(a.geometry, p, q, s);
    for (std::int64_t h = v.top; h < v.bottom; ++h) {
      for (std::int64_t w = v.left; w < v.right; ++w) {
        const std::int64_t pixel = (n * s[1] + h) * s[2] + w;
        sums[static_cast<std::size_t>(pixel * s[3] + c)] += dy(n, p, q, c) / v.divisor;
      }
    }
  });
  store<T>(sums, a.dx);
}

/// Global pooling is average pooling with the image as the only window.
api::PoolGeometry whole_image(const core::Tensor& x) {
  api::PoolGeometry g;
  g.kernel_h = g.stride_h = x.shape()[1];
  g.kernel_w = g.stride_w = x.shape()[2];
  return g;
}

/// [N, C] as [N, 1, 1, C].
core::Tensor as_image(const core::Tensor& y) {
  return y.reshaped({y.shape()[0], 1, 1, y.shape()[1]});
}

}  // namespace

void Pool::do_max_forward(const api::MaxPoolForward& a) {
  with_real(a.x.dtype(), [&](auto t) { run_max_forward<decltype(t)>(a); });
}

void Pool::do_max_backward(const api::MaxPoolBackward& a) {
  with_real(a.dy.dtype(), [&](auto t) { run_max_backward<decltype(t)>(a); });
}

void Pool::do_average_forward(const api::AveragePoolForward& a) {
  with_real(a.x.dtype(), [&](auto t) { run_average_forward<decltype(t)>(a); });
}

void Pool::do_average_backward(const api::AveragePoolBackward& a) {
  with_real(a.dy.dtype(), [&](auto t) { run_average_backward<decltype(t)>(a); });
}

void Pool::do_global_average_forward(const api::GlobalAverageForward& a) {
  do_average_forward({a.x, as_image(a.y), whole_image(a.x)});
}

void Pool::do_global_average_backward(const api::GlobalAverageBackward& a) {
  do_average_backward({as_image(a.dy), a.dx, whole_image(a.dx)});
}

}  // namespace isaribi::reference
