// SPDX-License-Identifier: MIT
#include "optim/kfac/inverse.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.hpp"
#include "optim/kfac/packed.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::DType;
using core::Tensor;

/// One factor of a block, for inversion.
struct Side {
  const Statistic& statistic;
  std::int64_t groups() const { return statistic.shape[0]; }
  std::int64_t dim() const { return statistic.shape[1]; }
};

template <typename T>
void fill_lower(const double* packed, double damping, std::int64_t dim, T* full) {
  for (std::int64_t i = 0; i < dim; ++i, packed += i) {
    T* row = full + i * dim;
    for (std::int64_t j = 0; j < i; ++j) row[j] = static_cast<T>(packed[j]);
    row[i] = static_cast<T>(packed[i] + damping);
  }
}

/// full = group k of packed lower triangles plus damping I, on the host; only the lower triangle is
/// written.
void unpack_lower(const Tensor& packed, std::int64_t k, double damping, const Tensor& full) {
  const std::int64_t dim = full.shape()[0];
  const double* from = packed.data<double>() + k * (dim * (dim + 1) / 2);
  if (full.dtype() == DType::f64) {
    fill_lower(from, damping, dim, full.data<double>());
  } else {
    fill_lower(from, damping, dim, full.data<float>());
  }
}

/// The same in new memory, of `type`.
Tensor lower_of(const Tensor& packed, std::int64_t k, std::int64_t dim, double damping,
                DType type) {
  Tensor full({dim, dim}, type);
  unpack_lower(packed, k, damping, full);
  return full;
}

Tensor on_host(const Tensor& t, api::Backend& backend) {
  if (t.device().kind == core::Device::Kind::host) return t;
  Tensor host(t.shape(), t.dtype());
  backend.copy(t, host);
  backend.synchronize();
  return host;
}

Tensor on_device(const Tensor& host, api::Backend& backend) {
  if (backend.memory().device().kind == core::Device::Kind::host) return host;
  const Tensor device = backend.make(host.shape(), host.dtype());
  backend.copy(host, device);
  backend.synchronize();
  return device;
}

/// a = (X + damping I)^-1 of one group by Cholesky; false when it is not positive definite to
/// working precision.
bool by_cholesky(const Side& side, std::int64_t k, double damping, api::Backend& backend,
                 const Tensor& a) {
  const Tensor& average = side.statistic.average;
  if (a.device().kind == core::Device::Kind::host) {
    unpack_lower(average, k, damping, a);
  } else {
    backend.copy(lower_of(average, k, side.dim(), damping, a.dtype()), a);
    backend.synchronize();
  }
  if (backend.linalg().cholesky({.a = a}) != 0) return false;
  if (backend.linalg().cholesky_inverse({.a = a}) != 0) return false;
  return all_finite(on_host(a, backend));
}

/// Eigenvectors (columns) and eigenvalues of one group in f64; negative ones, which only rounding
/// makes, become 0. @return false when they were not found.
bool eigen_of(const Side& side, std::int64_t k, api::Backend& backend, Tensor& vectors,
              Tensor& values) {
  vectors = on_device(lower_of(side.statistic.average, k, side.dim(), 0.0, DType::f64), backend);
  const Tensor w = backend.make({side.dim()}, DType::f64);
  if (backend.linalg().symmetric_eigen({.a = vectors, .w = w}) != 0) return false;
  values = on_host(w, backend);
  double* d = values.data<double>();
  for (std::int64_t i = 0; i < side.dim(); ++i) d[i] = std::max(d[i], 0.0);
  return all_finite(values) && all_finite(on_host(vectors, backend));
}

/// The same inverse from eigenvalues: V diag(1 / (d + damping)) V^T.
bool by_eigenvalues(const Side& side, std::int64_t k, double damping, api::Backend& backend,
                    const Tensor& result) {
  Tensor vectors, values;
  if (!eigen_of(side, k, backend, vectors, values)) return false;
  const std::int64_t dim = side.dim();
  const Tensor scaled = Tensor(vectors.shape(), DType::f64);
  const Tensor v = on_host(vectors, backend);
  for (std::int64_t i = 0; i < dim * dim; ++i) {
    scaled.data<double>()[i] =
        v.data<double>()[i] / std::sqrt(values.data<double>()[i % dim] + damping);
  }
  const Tensor root = on_device(scaled, backend);
  const Tensor inverse = backend.make({dim, dim}, DType::f64);
  backend.linalg().syrk({.a = root, .c = inverse});
  backend.elementwise().axpby({.alpha = 1.0, .x = inverse, .beta = 0.0, .y = result});
  return true;
}

/// All groups of one factor at one damping; false when one fails.
bool invert_side(const Side& side, double damping, bool eigenvalues, api::Backend& backend,
                 const Tensor& result) {
  for (std::int64_t k = 0; k < side.groups(); ++k) {
    const Tensor one = Block::group(result, k);
    if (!(eigenvalues ? by_eigenvalues(side, k, damping, backend, one)
                      : by_cholesky(side, k, damping, backend, one)))
      return false;
  }
  backend.synchronize();
  return true;
}

double mean_of(const Statistic& s) {
  return s.exists() ? mean_diagonal(s.average, s.shape[0], s.shape[1]) : 1.0;
}

/// The damping of each factor. FOOF has no G: F = A x I.
FactorDamping damping_of(const Block& block, double lambda) {
  if (!block.g.exists()) return {.a = lambda, .g = 0};
  return split_damping(lambda, mean_of(block.a), mean_of(block.g));
}

/// Whether the factors may be damped as they were.
bool keeps_split(const Block& block, double lambda) {
  constexpr double kNear = 1.1, kSame = 1e-9;
  if (!block.inverse.damping.defined()) return false;
  const double* last = block.inverse.damping.data<double>();
  const double drift = damping_of(block, lambda).a / last[0];
  return std::abs(last[0] * last[1] - lambda) <= kSame * lambda && drift <= kNear &&
         drift >= 1 / kNear;
}

/// All of what is renewed, or nothing.
bool try_cholesky(Block& block, const Renewed& renewed, const FactorDamping& damping,
                  bool eigenvalues, api::Backend& backend) {
  const DType type = block.gradient.dtype();
  Inverse& inverse = block.inverse;
  const bool g = renewed.g && block.g.exists();
  const auto made = [&](const Statistic& s, double diagonal, Tensor& next) {
    if (!next.defined()) next = backend.make(s.shape, type);
    return invert_side({s}, diagonal, eigenvalues, backend, next);
  };
  if (renewed.a && !made(block.a, damping.a, inverse.next_a)) return false;
  if (g && !made(block.g, damping.g, inverse.next_g)) return false;
  if (renewed.a) std::swap(inverse.a, inverse.next_a);
  if (g) std::swap(inverse.g, inverse.next_g);
  if (inverse.damping.defined()) {
    inverse.damping.data<double>()[0] = damping.a;
    inverse.damping.data<double>()[1] = damping.g;
  }
  return true;
}

bool decompose(const Side& side, const Tensor& values, const Tensor& result,
               api::Backend& backend) {
  std::vector<Tensor> vectors(static_cast<std::size_t>(side.groups())), diagonals(vectors.size());
  for (std::int64_t k = 0; k < side.groups(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    if (!eigen_of(side, k, backend, vectors[i], diagonals[i])) return false;
  }
  for (std::int64_t k = 0; k < side.groups(); ++k) {
    const auto i = static_cast<std::size_t>(k);
    backend.elementwise().axpby(
        {.alpha = 1.0, .x = vectors[i], .beta = 0.0, .y = Block::group(result, k)});
    std::copy_n(diagonals[i].data<double>(), side.dim(), values.data<double>() + k * side.dim());
  }
  backend.synchronize();
  return true;
}

void invert_eigen(Block& block, const Renewed& renewed, api::Backend& backend) {
  Inverse& inverse = block.inverse;
  if ((renewed.a && !decompose({block.a}, inverse.values_a, inverse.a, backend)) ||
      (renewed.g && !decompose({block.g}, inverse.values_g, inverse.g, backend))) {
    ++inverse.report.kept;
  }
}

void invert_cholesky(Block& block, const KfacSettings& settings, double lambda,
                     const Renewed& renewed, api::Backend& backend) {
  InverseReport& report = block.inverse.report;
  if (!(renewed.a && renewed.g) && keeps_split(block, lambda)) {
    const double* last = block.inverse.damping.data<double>();
    if (try_cholesky(block, renewed, {.a = last[0], .g = last[1]}, false, backend)) return;
  }
  constexpr int kRetries = 3;
  for (int attempt = 0; attempt <= kRetries; ++attempt, lambda *= 10) {
    report.damping = lambda;
    if (try_cholesky(block, {}, damping_of(block, lambda), false, backend)) return;
    ++report.retries;
  }
  report.damping = std::min(lambda / 10, settings.damping_max);
  ++report.eigen;
  if (try_cholesky(block, {}, damping_of(block, report.damping), true, backend)) return;
  ++report.kept;
  // Both next time, whichever is renewed then.
  if (block.inverse.damping.defined()) std::fill_n(block.inverse.damping.data<double>(), 2, 0.0);
}

}  // namespace

double mean_diagonal(const Tensor& packed, std::int64_t groups, std::int64_t dim) {
  double sum = 0;
  const double* x = packed.data<double>();
  for (std::int64_t k = 0; k < groups; ++k, x += dim * (dim + 1) / 2) {
    for (std::int64_t i = 0; i < dim; ++i) sum += x[i * (i + 3) / 2];
  }
  return sum / static_cast<double>(groups * dim);
}

Tensor unpacked(const Tensor& packed, std::int64_t k, std::int64_t dim) {
  Tensor full = lower_of(packed, k, dim, 0.0, DType::f64);
  double* x = full.data<double>();
  for (std::int64_t i = 0; i < dim; ++i) {
    for (std::int64_t j = 0; j < i; ++j) x[j * dim + i] = x[i * dim + j];
  }
  return full;
}

void invert(Block& block, const KfacSettings& settings, double lambda, std::int64_t step,
            const Renewed& renewed, api::Backend& backend) {
  block.inverse.step = step;
  block.inverse.report.damping = lambda;
  if (!block.affine()) {
    std::copy_n(block.g.average.data<double>(), block.g.average.count(),
                block.inverse.norm.data<double>());
  } else if (settings.inverse == "eigen") {
    invert_eigen(block, renewed, backend);
  } else {
    invert_cholesky(block, settings, lambda, renewed, backend);
  }
}

void renew_divisors(Block& block, double lambda, api::Backend& backend) {
  Inverse& inverse = block.inverse;
  const std::int64_t groups = block.shape.groups, rows = block.shape.outputs,
                     columns = block.columns();
  const DType type = block.gradient.dtype();
  const bool moments = block.moments.updates > 0;
  Tensor host({groups, rows, columns}, type);
  for (std::int64_t i = 0; i < host.count(); ++i) {
    const std::int64_t k = i / (rows * columns), r = i / columns % rows, c = i % columns;
    const double s = moments ? block.moments.average.data<double>()[i]
                             : inverse.values_g.data<double>()[k * rows + r] *
                                   inverse.values_a.data<double>()[k * columns + c];
    const double value = 1.0 / (s + lambda);
    if (type == DType::f64) {
      host.data<double>()[i] = value;
    } else {
      host.data<float>()[i] = static_cast<float>(value);
    }
  }
  backend.copy(host, inverse.divisors);
  backend.synchronize();
}

}  // namespace isaribi::optim::kfac
