// SPDX-License-Identifier: MIT
// Convolution. All three passes walk the same loop nest, output by output and tap by tap, so that
// the two backward passes are visibly the adjoints of the forward one.
#include <vector>

#include "backends/reference/activation.hpp"
#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// The extents of one call, in the names of backends/api/conv.hpp.
struct Extents {
  std::int64_t n, h, w, i;   // input [N, H, W, I]
  std::int64_t p, q, o;      // output [N, P, Q, O]
  std::int64_t kh, kw, per;  // kernel [O, KH, KW, per], per = I / groups
  api::ConvGeometry g;
};

Extents extents_of(const core::Tensor& x, const core::Tensor& w, const core::Tensor& y,
                   const api::ConvGeometry& g) {
  const core::Shape &xs = x.shape(), &ws = w.shape(), &ys = y.shape();
  return {xs[0], xs[1], xs[2], xs[3], ys[1], ys[2], ys[3], ws[1], ws[2], ws[3], g};
}

/// Calls body(r, s, i, h, w, channel) for every tap of output (p, q, o) that lies inside the image:
/// (r, s, i) addresses the kernel, (h, w, channel) the input.
template <typename Body>
void for_each_tap(const Extents& e, std::int64_t p, std::int64_t q, std::int64_t o,
                  const Body& body) {
  const std::int64_t group = o / (e.o / e.g.groups);
  for (std::int64_t r = 0; r < e.kh; ++r) {
    const std::int64_t h = p * e.g.stride_h - e.g.pad_top + r * e.g.dilation_h;
    if (h < 0 || h >= e.h) continue;
    for (std::int64_t s = 0; s < e.kw; ++s) {
      const std::int64_t w = q * e.g.stride_w - e.g.pad_left + s * e.g.dilation_w;
      if (w < 0 || w >= e.w) continue;
      for (std::int64_t i = 0; i < e.per; ++i) body(r, s, i, h, w, group * e.per + i);
    }
  }
}

template <typename T>
void run_forward(const api::ConvForward& a) {
  const Extents e = extents_of(a.x, a.w, a.y, a.geometry);
  const View<T> x(a.x), weight(a.w), y(a.y);
  const T* bias = a.bias.defined() ? a.bias.data<T>() : nullptr;
#pragma omp parallel for collapse(3)
  for (std::int64_t n = 0; n < e.n; ++n) {
    for (std::int64_t p = 0; p < e.p; ++p) {
      for (std::int64_t q = 0; q < e.q; ++q) {
        for (std::int64_t o = 0; o < e.o; ++o) {
          double sum = bias != nullptr ? bias[o] : 0.0;
          for_each_tap(e, p, q, o, [&](auto r, auto s, auto i, auto h, auto w, auto channel) {
            sum += static_cast<double>(weight(o, r, s, i)) * x(n, h, w, channel);
          });
          y(n, p, q, o) = static_cast<T>(activate(a.activation, sum));
        }
      }
    }
  }
}

template <typename T>
void run_backward_data(const api::ConvBackwardData& a) {
  const Extents e = extents_of(a.dx, a.w, a.dy, a.geometry);
  const View<T> dy(a.dy), weight(a.w), dx(a.dx);
#pragma omp parallel for
  for (std::int64_t n = 0; n < e.n; ++n) {
    std::vector<double> sum(static_cast<std::size_t>(e.h * e.w * e.i), 0.0);  // dx of one sample
    for (std::int64_t p = 0; p < e.p; ++p) {
      for (std::int64_t q = 0; q < e.q; ++q) {
        for (std::int64_t o = 0; o < e.o; ++o) {
          for_each_tap(e, p, q, o, [&](auto r, auto s, auto i, auto h, auto w, auto channel) {
            sum[static_cast<std::size_t>((h * e.w + w) * e.i + channel)] +=
                static_cast<double>(weight(o, r, s, i)) * dy(n, p, q, o);
          });
        }
      }
    }
    for (std::int64_t k = 0; k < e.h * e.w * e.i; ++k) {
      a.dx.data<T>()[n * e.h * e.w * e.i + k] = static_cast<T>(sum[static_cast<std::size_t>(k)]);
    }
  }
}

// T: type of x and dy, G: type of dw and db. Everything is summed in double, which is at least as
// exact as the blocks of kSampleBlock samples that the interface allows.
template <typename T, typename G>
void run_backward_weights(const api::ConvBackwardWeights& a) {
  const Extents e = extents_of(a.x, a.dw, a.dy, a.geometry);
  const View<T> x(a.x), dy(a.dy);
  const std::int64_t kernel = e.kh * e.kw * e.per;
#pragma omp parallel for
  for (std::int64_t o = 0; o < e.o; ++o) {
    std::vector<double> dw(static_cast<std::size_t>(kernel), 0.0);  // gradient of filter o
    double db = 0.0;
    for (std::int64_t n = 0; n < e.n; ++n) {
      for (std::int64_t p = 0; p < e.p; ++p) {
        for (std::int64_t q = 0; q < e.q; ++q) {
          const double gradient = dy(n, p, q, o);
          db += gradient;
          for_each_tap(e, p, q, o, [&](auto r, auto s, auto i, auto h, auto w, auto channel) {
            dw[static_cast<std::size_t>((r * e.kw + s) * e.per + i)] +=
                gradient * x(n, h, w, channel);
          });
        }
      }
    }
    const auto store = [&](G& out, double sum) {
      out = static_cast<G>(a.accumulate ? out + sum : sum);
    };
    for (std::int64_t k = 0; k < kernel; ++k)
      store(a.dw.data<G>()[o * kernel + k], dw[static_cast<std::size_t>(k)]);
    if (a.db.defined()) store(a.db.data<G>()[o], db);
  }
}

}  // namespace

void Conv::do_forward(const api::ConvForward& a) {
  with_real(a.x.dtype(), [&](auto t) { run_forward<decltype(t)>(a); });
}

void Conv::do_backward_data(const api::ConvBackwardData& a) {
  with_real(a.dy.dtype(), [&](auto t) { run_backward_data<decltype(t)>(a); });
}

void Conv::do_backward_weights(const api::ConvBackwardWeights& a) {
  with_real(a.x.dtype(), [&](auto t) {
    with_real(a.dw.dtype(), [&](auto g) { run_backward_weights<decltype(t), decltype(g)>(a); });
  });
}

}  // namespace isaribi::reference
