// SPDX-License-Identifier: MIT
// What a run tells about its curvature: per layer, how the eigenvalues of its block lie against the
// damping (a block far below lambda preconditions nothing: the method is then gradient descent),
// and the numbers of a step in full.
#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "optim/kfac/direction.hpp"
#include "optim/kfac/inverse.hpp"
#include "optim/kfac/kfac.hpp"

namespace isaribi::optim::kfac {
namespace {

using core::DType;
using core::Tensor;

/// Eigenvalues of all groups, [groups][dim]; of the identity where the factor does not exist.
std::vector<std::vector<double>> spectra(const Statistic& s, std::int64_t groups,
                                         api::Backend& backend) {
  if (!s.exists()) return std::vector<std::vector<double>>(static_cast<std::size_t>(groups), {1.0});
  std::vector<std::vector<double>> all;
  const std::int64_t dim = s.shape[1];
  for (std::int64_t k = 0; k < groups; ++k) {
    const Tensor host = unpacked(s.average, k, dim);
    const Tensor a = backend.make(host.shape(), DType::f64), w = backend.make({dim}, DType::f64);
    backend.copy(host, a);
    backend.linalg().symmetric_eigen({.a = a, .w = w});
    const Tensor values({dim}, DType::f64);
    backend.copy(w, values);
    backend.synchronize();
    std::vector<double> list(values.data<double>(), values.data<double>() + dim);
    for (double& d : list) d = std::max(d, 0.0);
    all.push_back(std::move(list));
  }
  return all;
}

/// Eigenvalues of the whole block.
std::vector<double> block_spectrum(const Block& block, api::Backend& backend) {
  std::vector<double> values;
  if (!block.affine()) {
    const double* f = block.g.average.data<double>();
    const std::int64_t n = block.shape.outputs;
    for (std::int64_t c = 0; c < n; ++c) {
      const double mean = 0.5 * (f[c] + f[2 * n + c]), half = 0.5 * (f[c] - f[2 * n + c]);
      const double root = std::hypot(half, f[n + c]);
      values.push_back(std::max(mean - root, 0.0));
      values.push_back(mean + root);
    }
    return values;
  }
  const std::int64_t groups = block.shape.groups;
  const auto a = spectra(block.a, groups, backend), g = spectra(block.g, groups, backend);
  for (std::size_t k = 0; k < a.size(); ++k) {
    for (const double x : a[k]) {
      for (const double y : g[k]) values.push_back(x * y);
    }
  }
  return values;
}

/// Between the gradient and the last direction; -1 where one of them is 0.
double cosine(const Block& block, api::Backend& backend) {
  auto& ops = backend.elementwise();
  const double norms =
      ops.dot(block.gradient, block.gradient) * ops.dot(block.direction, block.direction);
  return norms > 0 ? block.product / std::sqrt(norms) : -1;
}

std::string name_after_slash(const Statistic& s) {
  return s.name.substr(s.name.rfind('/') + 1);
}

/// `t` of the owner on every rank, in f64.
Tensor from_owner(const Tensor& t, const core::Shape& shape, bool owner, api::Backend& backend) {
  const Tensor wide = Tensor::zeros(shape, DType::f64);
  if (!owner) return wide;
  const Tensor host(t.shape(), t.dtype());
  backend.copy(t, host);
  backend.synchronize();
  for (std::int64_t i = 0; i < wide.count(); ++i) {
    wide.data<double>()[i] = host.dtype() == DType::f64
                                 ? host.data<double>()[i]
                                 : static_cast<double>(host.data<float>()[i]);
  }
  return wide;
}

Tensor full_matrices(const Statistic& s) {
  const std::int64_t groups = s.shape[0], dim = s.shape[1];
  Tensor all(s.shape, DType::f64);
  for (std::int64_t k = 0; k < groups; ++k) {
    const Tensor one = unpacked(s.average, k, dim);
    std::copy_n(one.data<double>(), one.count(), all.data<double>() + k * dim * dim);
  }
  return all;
}

}  // namespace

std::vector<CurvatureReport> Kfac::report() {
  layer_directions_->collect();
  constexpr std::int64_t kColumns = 8;
  const auto n = static_cast<std::int64_t>(blocks_.size());
  const Tensor shared = Tensor::zeros({n, kColumns}, DType::f64);
  for (std::int64_t i = 0; i < n; ++i) {
    const Block& block = blocks_[static_cast<std::size_t>(i)];
    if (!mine(block) || block.inverse.step == 0) continue;
    std::vector<double> values = block_spectrum(block, backend_);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    const double lambda = damping(), condition = (*high + lambda) / (*low + lambda), top = *high;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    double* row = shared.data<double>() + i * kColumns;
    row[0] = *middle;
    row[1] = top;
    row[2] = condition;
    row[3] = block.inverse.report.damping;
    row[4] = static_cast<double>(block.inverse.report.retries);
    row[5] = static_cast<double>(block.inverse.report.eigen);
    row[6] = static_cast<double>(block.inverse.report.kept);
    row[7] = cosine(block, backend_);
  }
  if (comm_.size() > 1) comm_.all_reduce(shared, comm::ReduceOp::sum);
  std::vector<CurvatureReport> list;
  for (std::int64_t i = 0; i < n; ++i) {
    const Block& block = blocks_[static_cast<std::size_t>(i)];
    const double* row = shared.data<double>() + i * kColumns;
    const Statistic& oldest =
        block.a.exists() && (!block.g.exists() || block.a.refresh.last < block.g.refresh.last)
            ? block.a
            : block.g;
    list.push_back({.layer = block.name,
                    .median_eigenvalue = row[0],
                    .top_eigenvalue = row[1],
                    .condition = row[2],
                    .damping = row[3],
                    .cosine = row[7],
                    .retries = static_cast<std::int64_t>(row[4]),
                    .eigen = static_cast<std::int64_t>(row[5]),
                    .kept = static_cast<std::int64_t>(row[6]),
                    .factor_age = info_.step - oldest.refresh.last,
                    .inverse_age = info_.step - block.inverse.step,
                    .interval = oldest.refresh.interval,
                    .owner = block.owner});
  }
  return list;
}

std::vector<CurvatureDump> Kfac::dump() {
  layer_directions_->collect();
  std::vector<CurvatureDump> list;
  std::vector<comm::Owned> owned;
  for (const Block& block : blocks_) {
    CurvatureDump dump{.layer = block.name, .tensors = {}, .values = {}};
    const bool owner = mine(block);
    const auto add = [&](const std::string& name, const Tensor& tensor) {
      dump.tensors.push_back({name, tensor});
      owned.push_back({tensor, block.owner});
    };
    add("gradient", from_owner(block.gradient, block.gradient.shape(), owner, backend_));
    add("direction", from_owner(block.direction, block.direction.shape(), owner, backend_));
    for (const Statistic* s : {&block.a, &block.g}) {
      if (!s->exists()) continue;
      const bool symmetric = s->form == Statistic::Form::symmetric;
      const Tensor mean = !owner      ? Tensor::zeros(s->shape, DType::f64)
                          : symmetric ? full_matrices(*s)
                                      : s->average.reshaped(s->shape);
      add(name_after_slash(*s), mean);
    }
    if (block.moments.exists())
      add("S", from_owner(block.moments.average.reshaped(block.moments.shape), block.moments.shape,
                          owner, backend_));
    dump.values = {
        {"damping", damping()},
        {"factor_step", static_cast<double>(std::max(block.a.refresh.last, block.g.refresh.last))},
        {"inverse_step", static_cast<double>(block.inverse.step)},
        {"groups", static_cast<double>(block.shape.groups)},
        {"positions", static_cast<double>(block.positions)}};
    list.push_back(std::move(dump));
  }
  comm::share_owned(comm_, owned, route_);
  return list;
}

}  // namespace isaribi::optim::kfac
