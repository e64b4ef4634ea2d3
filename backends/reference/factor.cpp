// SPDX-License-Identifier: MIT
// Second moments of patches and of sums over positions, from the patches of one sample at a time.
#include <algorithm>
#include <vector>

#include "backends/reference/ops.hpp"
#include "backends/reference/view.hpp"

namespace isaribi::reference {
namespace {

/// The patches of one group of one sample: [positions, length], in double.
struct Patches {
  std::int64_t positions, length;
  std::vector<double> values;
  double operator()(std::int64_t t, std::int64_t i) const {
    return values[static_cast<std::size_t>(t * length + i)];
  }
};

template <typename T, typename Args>
Patches patches_of(const Args& a, std::int64_t n, std::int64_t group) {
  const api::ConvGeometry& g = a.geometry;
  const View<T> x(a.x);
  const std::int64_t h = a.x.shape()[1], w = a.x.shape()[2], per = a.x.shape()[3] / g.groups;
  const std::int64_t rows = g.out_h(h, a.kh), columns = g.out_w(w, a.kw);
  Patches all{rows * columns, a.kh * a.kw * per + (a.bias ? 1 : 0), {}};
  for (std::int64_t p = 0; p < rows; ++p) {
    for (std::int64_t q = 0; q < columns; ++q) {
      for (std::int64_t r = 0; r < a.kh; ++r) {
        for (std::int64_t s = 0; s < a.kw; ++s) {
          const std::int64_t y = p * g.stride_h - g.pad_top + r * g.dilation_h;
          const std::int64_t z = q * g.stride_w - g.pad_left + s * g.dilation_w;
          const bool inside = y >= 0 && y < h && z >= 0 && z < w;
          for (std::int64_t i = 0; i < per; ++i)
            all.values.push_back(inside ? static_cast<double>(x(n, y, z, group * per + i)) : 0.0);
        }
      }
      if (a.bias) all.values.push_back(1.0);
    }
  }
  return all;
}

// T: type of x, A: type of a. Everything is summed in double.
template <typename T, typename A>
void run_patch_covariance(const api::PatchCovariance& args) {
  const View<A> a(args.a);
  const bool packed = args.a.shape().rank() == 2;
  const std::int64_t length = args.length();
  std::vector<double> sums(static_cast<std::size_t>(length * length));
  for (std::int64_t group = 0; group < args.geometry.groups; ++group) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::int64_t n = 0; n < args.x.shape()[0]; ++n) {
      const Patches p = patches_of<T>(args, n, group);
#pragma omp parallel for schedule(dynamic)
      for (std::int64_t i = 0; i < length; ++i) {
        double* row = sums.data() + i * length;
        for (std::int64_t t = 0; t < p.positions; ++t) {
          for (std::int64_t j = 0; j <= i; ++j) row[j] += p(t, i) * p(t, j);
        }
      }
    }
    for (std::int64_t i = 0; i < length; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const double sum = args.scale * sums[static_cast<std::size_t>(i * length + j)];
        A& lower = packed ? a(group, i * (i + 1) / 2 + j) : a(group, i, j);
        lower = static_cast<A>((args.accumulate ? static_cast<double>(lower) : 0.0) + sum);
        if (!packed) a(group, j, i) = lower;
      }
    }
  }
}

template <typename T>
void run_patch_mean(const api::PatchMean& a) {
  const View<T> out(a.out);
  for (std::int64_t n = 0; n < a.x.shape()[0]; ++n) {
    for (std::int64_t group = 0; group < a.geometry.groups; ++group) {
      const Patches p = patches_of<T>(a, n, group);
      for (std::int64_t i = 0; i < p.length; ++i) {
        double sum = 0.0;
        for (std::int64_t t = 0; t < p.positions; ++t) sum += p(t, i);
        out(n, group, i) = static_cast<T>(a.scale * sum);
      }
    }
  }
}

template <typename T>
void run_norm_fisher(const api::NormFisher& a) {
  const std::int64_t samples = a.x.shape()[0], c = a.x.shape().back();
  const std::int64_t positions = samples == 0 || c == 0 ? 0 : a.x.count() / (samples * c);
  const T *x = a.x.data<T>(), *dy = a.dy.data<T>(), *mean = a.mean.data<T>();
  const T *y = a.activation == api::Activation::none ? nullptr : a.y.data<T>(),
          *inv_std = a.inv_std.data<T>();
  const View<double> sums(a.sums);
#pragma omp parallel for
  for (std::int64_t k = 0; k < c; ++k) {
    double moments[3] = {};
    for (std::int64_t n = 0; n < samples; ++n) {
      double u = 0.0, v = 0.0;
      for (std::int64_t t = 0; t < positions; ++t) {
        const std::int64_t i = (n * positions + t) * c + k;
        const double gradient = y == nullptr || y[i] > T(0) ? static_cast<double>(dy[i]) : 0.0;
        u += gradient * ((static_cast<double>(x[i]) - mean[k]) * inv_std[k]);
        v += gradient;
      }
      moments[0] += u * u;
      moments[1] += u * v;
      moments[2] += v * v;
    }
    for (int m = 0; m < 3; ++m)
      sums(m, k) = a.scale * moments[m] + (a.accumulate ? sums(m, k) : 0.0);
  }
}

}  // namespace

void Factor::do_patch_covariance(const api::PatchCovariance& a) {
  with_real(a.x.dtype(), [&](auto t) {
    with_real(a.a.dtype(), [&](auto u) { run_patch_covariance<decltype(t), decltype(u)>(a); });
  });
}

void Factor::do_patch_mean(const api::PatchMean& a) {
  with_real(a.x.dtype(), [&](auto t) { run_patch_mean<decltype(t)>(a); });
}

void Factor::do_norm_fisher(const api::NormFisher& a) {
  with_real(a.x.dtype(), [&](auto t) { run_norm_fisher<decltype(t)>(a); });
}

}  // namespace isaribi::reference
