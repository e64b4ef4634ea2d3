// SPDX-License-Identifier: MIT
// Pooling. The backward passes gather: each input pixel adds up the windows that hold it, so there
// are no atomics and the order of additions is fixed.
#include "backends/kokkos/loops.hpp"
#include "backends/kokkos/ops.hpp"

namespace isaribi::kokkos {
namespace {

struct Extents {
  Index n, h, w, c, p, q;
  api::PoolGeometry geometry;
};

Extents extents_of(const core::Tensor& x, const core::Tensor& y,
                   const api::PoolGeometry& geometry) {
  const core::Shape &sx = x.shape(), &sy = y.shape();
  return {sx[0], sx[1], sx[2], sx[3], sy[1], sy[2], geometry};
}

/// The half-open range of windows along one axis that hold coordinate `at`.
struct Windows {
  Index begin, end;
};
KOKKOS_INLINE_FUNCTION Windows windows_over(Index at, Index pad, Index kernel, Index stride,
                                            Index count) {
  const Index low = at + pad - kernel;  // windows that start at or before this one end before `at`
  return {low < 0 ? 0 : low / stride + 1, Kokkos::min(count, (at + pad) / stride + 1)};
}

/// Taps of window `at` that fall inside [0, extent), as coordinates.
KOKKOS_INLINE_FUNCTION Windows taps_of(Index at, Index pad, Index kernel, Index stride,
                                       Index extent) {
  const Index first = at * stride - pad;
  return {Kokkos::max<Index>(first, 0), Kokkos::min(first + kernel, extent)};
}

/// Divisor of the average of one window.
template <typename T>
KOKKOS_INLINE_FUNCTION T weight_of(const Extents& e, Windows rows, Windows columns) {
  const Index taps = e.geometry.count_include_pad
                         ? e.geometry.kernel_h * e.geometry.kernel_w
                         : (rows.end - rows.begin) * (columns.end - columns.begin);
  return T(1) / static_cast<T>(Kokkos::max<Index>(taps, 1));
}

template <typename T>
void run_max_forward(const Queue& queue, const api::MaxPoolForward& args) {
  const Extents e = extents_of(args.x, args.y, args.geometry);
  const T* x = args.x.data<T>();
  T* y = args.y.data<T>();
  std::int32_t* argmax = args.argmax.data<std::int32_t>();
  for_rows(
      queue, "max_pool_forward", e.n * e.p * e.q, e.c,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index q = row % e.q, p = row / e.q % e.p, n = row / e.q / e.p;
        const api::PoolGeometry& g = e.geometry;
        const Windows rows = taps_of(p, g.pad_top, g.kernel_h, g.stride_h, e.h);
        const Windows columns = taps_of(q, g.pad_left, g.kernel_w, g.stride_w, e.w);
        T* best = y + row * e.c;
        std::int32_t* where = argmax + row * e.c;
        for (Index h = rows.begin; h < rows.end; ++h) {
          for (Index w = columns.begin; w < columns.end; ++w) {
            const T* in = x + ((n * e.h + h) * e.w + w) * e.c;
            const auto index = static_cast<std::int32_t>(h * e.w + w);
            if (h == rows.begin && w == columns.begin) {
              for (Index c = begin; c < end; ++c) best[c] = in[c];
              for (Index c = begin; c < end; ++c) where[c] = index;
              continue;
            }
#pragma omp simd
            for (Index c = begin; c < end; ++c) {
              const T v = in[c], b = best[c];
              const bool wins = (v > b) | ((v != v) & (b == b));  // NaN counts as the maximum
              best[c] = wins ? v : b;
              where[c] = wins ? index : where[c];
            }
          }
        }
      });
}

template <typename T>
void run_max_backward(const Queue& queue, const api::MaxPoolBackward& args) {
  const Extents e = extents_of(args.dx, args.dy, args.geometry);
  const T* dy = args.dy.data<T>();
  const std::int32_t* argmax = args.argmax.data<std::int32_t>();
  T* dx = args.dx.data<T>();
  for_rows(
      queue, "max_pool_backward", e.n * e.h * e.w, e.c,
      KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index w = row % e.w, h = row / e.w % e.h, n = row / e.w / e.h;
        const api::PoolGeometry& g = e.geometry;
        const Windows rows = windows_over(h, g.pad_top, g.kernel_h, g.stride_h, e.p);
        const Windows columns = windows_over(w, g.pad_left, g.kernel_w, g.stride_w, e.q);
        const auto index = static_cast<std::int32_t>(h * e.w + w);
        T* out = dx + row * e.c;
        for (Index c = begin; c < end; ++c) out[c] = T(0);
        for (Index p = rows.begin; p < rows.end; ++p) {
          for (Index q = columns.begin; q < columns.end; ++q) {
            const Index from = ((n * e.p + p) * e.q + q) * e.c;
#pragma omp simd
            for (Index c = begin; c < end; ++c)
              out[c] += keep_if(argmax[from + c] == index, dy[from + c]);
          }
        }
      });
}

template <typename T>
void run_average_forward(const Queue& queue, const char* label, const Extents& e, const T* x,
                         T* y) {
  for_rows(
      queue, label, e.n * e.p * e.q, e.c, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index q = row % e.q, p = row / e.q % e.p, n = row / e.q / e.p;
        const api::PoolGeometry& g = e.geometry;
        const Windows rows = taps_of(p, g.pad_top, g.kernel_h, g.stride_h, e.h);
        const Windows columns = taps_of(q, g.pad_left, g.kernel_w, g.stride_w, e.w);
        const T weight = weight_of<T>(e, rows, columns);
        T* out = y + row * e.c;
        for (Index c = begin; c < end; ++c) out[c] = T(0);
        for (Index h = rows.begin; h < rows.end; ++h) {
          for (Index w = columns.begin; w < columns.end; ++w) {
            const T* in = x + ((n * e.h + h) * e.w + w) * e.c;
#pragma omp simd
            for (Index c = begin; c < end; ++c) out[c] += in[c];
          }
        }
        for (Index c = begin; c < end; ++c) out[c] *= weight;
      });
}

template <typename T>
void run_average_backward(const Queue& queue, const char* label, const Extents& e, const T* dy,
                          T* dx) {
  for_rows(
      queue, label, e.n * e.h * e.w, e.c, KOKKOS_LAMBDA(Index row, Index begin, Index end) {
        const Index w = row % e.w, h = row / e.w % e.h, n = row / e.w / e.h;
        const api::PoolGeometry& g = e.geometry;
        const Windows rows = windows_over(h, g.pad_top, g.kernel_h, g.stride_h, e.p);
        const Windows columns = windows_over(w, g.pad_left, g.kernel_w, g.stride_w, e.q);
        T* out = dx + row * e.c;
        for (Index c = begin; c < end; ++c) out[c] = T(0);
        for (Index p = rows.begin; p < rows.end; ++p) {
          for (Index q = columns.begin; q < columns.end; ++q) {
            const T weight = weight_of<T>(e, taps_of(p, g.pad_top, g.kernel_h, g.stride_h, e.h),
                                          taps_of(q, g.pad_left, g.kernel_w, g.stride_w, e.w));
            const T* in = dy + ((n * e.p + p) * e.q + q) * e.c;
#pragma omp simd
            for (Index c = begin; c < end; ++c) out[c] += weight * in[c];
          }
        }
      });
}

/// The whole image as one window.
Extents global_extents(const core::Tensor& x) {
  const core::Shape& s = x.shape();
  api::PoolGeometry geometry;
  geometry.kernel_h = geometry.stride_h = s[1];
  geometry.kernel_w = geometry.stride_w = s[2];
  return {s[0], s[1], s[2], s[3], 1, 1, geometry};
}

class Pool final : public api::PoolOps {
 public:
  explicit Pool(Queue& queue) : queue_(queue) {}

 private:
  void do_max_forward(const api::MaxPoolForward& args) override {
    with_float(args.x.dtype(), [&](auto t) { run_max_forward<decltype(t)>(queue_, args); });
  }
  void do_max_backward(const api::MaxPoolBackward& args) override {
    with_float(args.dy.dtype(), [&](auto t) { run_max_backward<decltype(t)>(queue_, args); });
  }
  void do_average_forward(const api::AveragePoolForward& args) override {
    with_float(args.x.dtype(), [&](auto t) {
      using T = decltype(t);
      run_average_forward(queue_, "average_pool_forward", extents_of(args.x, args.y, args.geometry),
                          args.x.data<T>(), args.y.data<T>());
    });
  }
  void do_average_backward(const api::AveragePoolBackward& args) override {
    with_float(args.dy.dtype(), [&](auto t) {
      using T = decltype(t);
      run_average_backward(queue_, "average_pool_backward",
                           extents_of(args.dx, args.dy, args.geometry), args.dy.data<T>(),
                           args.dx.data<T>());
    });
  }
  void do_global_average_forward(const api::GlobalAverageForward& args) override {
    with_float(args.x.dtype(), [&](auto t) {
      using T = decltype(t);
      run_average_forward(queue_, "global_average_forward", global_extents(args.x),
                          args.x.data<T>(), args.y.data<T>());
    });
  }
  void do_global_average_backward(const api::GlobalAverageBackward& args) override {
    with_float(args.dy.dtype(), [&](auto t) {
      using T = decltype(t);
      run_average_backward(queue_, "global_average_backward", global_extents(args.dx),
                           args.dy.data<T>(), args.dx.data<T>());
    });
  }

  Queue& queue_;
};

}  // namespace

std::unique_ptr<api::PoolOps> make_pool(Queue& queue) {
  return std::make_unique<Pool>(queue);
}

}  // namespace isaribi::kokkos
