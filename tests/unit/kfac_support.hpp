// SPDX-License-Identifier: MIT
// Helpers of the K-FAC tests: a network whose passes a test drives itself, dense Gauss-Newton
// blocks from per-sample Jacobians, and small dense algebra in f64 that shares no code with
// src/optim.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "comm/serial_communicator.hpp"
#include "nn_support.hpp"
#include "optim/kfac/kfac.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::testing {

using Matrix = std::vector<std::vector<double>>;

inline Matrix zeros(std::size_t rows, std::size_t columns) {
  return Matrix(rows, std::vector<double>(columns, 0.0));
}

inline double at(const core::Tensor& t, std::int64_t i) {
  return t.dtype() == core::DType::f64 ? t.data<double>()[i]
                                       : static_cast<double>(t.data<float>()[i]);
}

/// |x - y| / |y| in the Frobenius norm.
inline double distance(const Matrix& x, const Matrix& y) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    for (std::size_t j = 0; j < y[i].size(); ++j) {
      difference += (x[i][j] - y[i][j]) * (x[i][j] - y[i][j]);
      size += y[i][j] * y[i][j];
    }
  }
  return std::sqrt(difference / size);
}

inline Matrix scaled(Matrix m, double factor) {
  for (auto& row : m) {
    for (double& x : row) x *= factor;
  }
  return m;
}

/// Solves m x = b by Gaussian elimination with pivots.
inline std::vector<double> solve(Matrix m, std::vector<double> b) {
  const std::size_t n = b.size();
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i) {
      if (std::abs(m[i][k]) > std::abs(m[pivot][k])) pivot = i;
    }
    std::swap(m[k], m[pivot]);
    std::swap(b[k], b[pivot]);
    for (std::size_t i = k + 1; i < n; ++i) {
      const double f = m[i][k] / m[k][k];
      for (std::size_t j = k; j < n; ++j) m[i][j] -= f * m[k][j];
      b[i] -= f * b[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t j = k + 1; j < n; ++j) b[k] -= m[k][j] * b[j];
    b[k] /= m[k][k];
  }
  return b;
}

/// G x A: entry (o D + i, p D + j) = G[o][p] A[i][j], for weights [o, i] in rows.
inline Matrix kronecker(const Matrix& g, const Matrix& a) {
  Matrix f = zeros(g.size() * a.size(), g.size() * a.size());
  for (std::size_t o = 0; o < g.size(); ++o) {
    for (std::size_t p = 0; p < g.size(); ++p) {
      for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j < a.size(); ++j)
          f[o * a.size() + i][p * a.size() + j] = g[o][p] * a[i][j];
      }
    }
  }
  return f;
}

/// Group k of a packed average.
inline Matrix factor_of(const optim::kfac::Statistic& s, std::size_t k) {
  const auto dim = static_cast<std::size_t>(s.shape[1]);
  Matrix m = zeros(dim, dim);
  const double* packed = s.average.data<double>() + k * (dim * (dim + 1) / 2);
  for (std::size_t i = 0; i < dim; ++i) {
    for (std::size_t j = 0; j <= i; ++j) m[i][j] = m[j][i] = *packed++;
  }
  return m;
}

/// Hessian of one sample's loss in z.
inline Matrix loss_hessian(api::LossKind loss, const std::vector<double>& z) {
  const std::size_t n = z.size();
  Matrix h = zeros(n, n);
  double total = 0;
  for (const double x : z) total += std::exp(x);
  for (std::size_t i = 0; i < n; ++i) {
    const double p = std::exp(z[i]) / total, s = 1 / (1 + std::exp(-z[i]));
    if (loss == api::LossKind::mean_squared_error) h[i][i] = 1;
    if (loss == api::LossKind::bernoulli_cross_entropy) h[i][i] = s * (1 - s);
    if (loss != api::LossKind::softmax_cross_entropy) continue;
    for (std::size_t j = 0; j < n; ++j) h[i][j] = (i == j ? p : 0.0) - p * std::exp(z[j]) / total;
  }
  return h;
}

/// One network, its batch, and a K-FAC whose passes the test drives.
class Rig {
 public:
  struct Options {
    core::DType type = core::DType::f64;
    api::LossKind loss = api::LossKind::softmax_cross_entropy;
    optim::kfac::Kind kind = optim::kfac::Kind::kfac;
    std::int64_t parts = 1;      ///< micro-batches
    double loss_scale = 1;       ///< the loss times this
    std::uint64_t weights = 21;  ///< seed of the weights
  };

  Rig(const nn::ModelSpec& spec, const core::Shape& sample, std::int64_t samples,
      const optim::KfacSettings& kfac_settings, Options rig_options)
      : options(rig_options),
        batch(samples),
        settings(kfac_settings),
        backend(reference_backend()),
        graph(spec, sample, *backend,
              {.max_batch = batch, .type = options.type, .seed = options.weights}),
        layers(graph.curved_layers()),
        comm(comm::make_serial_communicator()),
        outputs(graph.output_sample_shape().count()) {
    for (nn::Parameter* p : graph.parameters()) {  // biases away from 0
      if (p->role == nn::Role::weight) continue;
      const core::Tensor shift = random_tensor(p->shape, 100 + p->id, options.type);
      for (std::int64_t i = 0; i < p->value.count(); ++i)
        put(p->value, i, at(p->value, i) + 0.2 * at(shift, i));
    }
    x = random_tensor(sample.batched(batch), 1, options.type);
    targets = random_tensor({batch, outputs}, 2, options.type);
    for (std::int64_t i = 0; i < targets.count(); ++i) put(targets, i, 0.5 + 0.5 * at(targets, i));
    if (options.loss == api::LossKind::softmax_cross_entropy) normalise();
    kfac = std::make_unique<optim::kfac::Kfac>(options.kind, settings, 0.0, subject(), *backend,
                                               *comm);
  }

  optim::Subject subject() { return {graph.parameters(), layers, outputs}; }

  /// Passes of one step on the whole batch: gradients and statistics are then complete.
  void passes(std::int64_t step = 1) {
    const std::int64_t rows = batch / options.parts;
    for (std::int64_t part = 0; part < options.parts; ++part) {
      const core::Tensor images = x.rows(part * rows, (part + 1) * rows);
      nn::Pass pass = training_pass(rows);
      pass.ids = ids(rows, static_cast<std::int32_t>(part * rows));
      if (part == 0)
        listening = kfac->begin_step({.step = step, .samples = batch, .parts = options.parts});
      graph.set_tap(listening.tap);
      const core::Tensor z = graph.forward(pass, images).reshaped({rows, outputs});
      const double scale = 1.0 / static_cast<double>(batch);
      core::Tensor dz({rows, outputs}, options.type);
      nn::Pass silent = pass;
      silent.parameter_gradients = false;
      for (std::int64_t k = 0; k < listening.passes; ++k) {
        backend->factor().fisher_vectors(
            {.loss = options.loss,
             .mode = listening.mode,
             .index = k,
             .z = z,
             .ids = pass.ids,
             .key = core::Philox(3, core::Purpose::fisher, static_cast<std::uint64_t>(step)),
             .scale = scale * std::sqrt(options.loss_scale),
             .dz = dz});
        backward(silent, dz, false);
      }
      if (listening.passes > 0) graph.set_tap(nullptr);
      loss(z, targets.rows(part * rows, (part + 1) * rows), dz, scale * options.loss_scale);
      backward(pass, dz, part > 0);
    }
    graph.set_tap(nullptr);
  }

  /// passes(), then the directions of all parameters.
  std::vector<core::Tensor> directions(std::int64_t step = 1) {
    passes(step);
    const optim::Direction direction = kfac->precondition(step);
    REQUIRE(direction.refused.empty());
    std::vector<core::Tensor> u;
    for (const core::Tensor& t : direction.tensors) {
      u.emplace_back(t.shape(), t.dtype());
      backend->copy(t, u.back());
    }
    backend->synchronize();
    return u;
  }

  /// dz of sample `n` alone for parameter gradients d z_c / d w: [outputs][elements] of the weight
  /// matrix [rows, columns] of block b, bias last.
  Matrix jacobian(std::int64_t n, const optim::kfac::Block& block) {
    nn::Pass pass = training_pass(1);
    pass.ids = ids(1, static_cast<std::int32_t>(n));
    graph.set_tap(nullptr);
    graph.forward(pass, x.rows(n, n + 1));
    Matrix j;
    for (std::int64_t c = 0; c < outputs; ++c) {
      core::Tensor e({1, outputs}, options.type);
      for (std::int64_t i = 0; i < outputs; ++i) put(e, i, i == c ? 1.0 : 0.0);
      backward(pass, e, false);
      j.push_back(gradient_of(block));
    }
    return j;
  }

  /// The gradient of a block's weight and bias, [rows][columns] flattened.
  std::vector<double> gradient_of(const optim::kfac::Block& block) const {
    return matrix_of(block.shape.weight->gradient,
                     block.shape.bias != nullptr ? block.shape.bias->gradient : core::Tensor());
  }
  static std::vector<double> matrix_of(const core::Tensor& weight, const core::Tensor& bias) {
    std::vector<double> all;
    const std::int64_t rows = weight.shape()[0], columns = weight.count() / rows;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) all.push_back(at(weight, r * columns + c));
      if (bias.defined()) all.push_back(at(bias, r));
    }
    return all;
  }

  std::vector<double> output(std::int64_t n) {
    nn::Pass pass = training_pass(1);
    pass.ids = ids(1, static_cast<std::int32_t>(n));
    const core::Tensor z = graph.forward(pass, x.rows(n, n + 1));
    std::vector<double> list;
    for (std::int64_t i = 0; i < outputs; ++i) list.push_back(at(z, i));
    return list;
  }

  /// 1/N sum_n J_n^T M_n J_n restricted to group k of a block; M_n the loss Hessian, or g g^T of
  /// the loss gradient when `empirical`.
  Matrix gauss_newton(const optim::kfac::Block& block, std::size_t k, bool empirical = false) {
    const auto columns = static_cast<std::size_t>(block.columns()),
               rows = static_cast<std::size_t>(block.shape.outputs), size = rows * columns;
    Matrix f = zeros(size, size);
    for (std::int64_t n = 0; n < batch; ++n) {
      const std::vector<double> z = output(n);
      Matrix middle = loss_hessian(options.loss, z);
      if (empirical) {
        const std::vector<double> g = loss_gradient(n, z);
        for (std::size_t c = 0; c < g.size(); ++c) {
          for (std::size_t d = 0; d < g.size(); ++d) middle[c][d] = g[c] * g[d];
        }
      }
      const Matrix j = jacobian(n, block);
      const std::size_t first = k * size;
      for (std::size_t c = 0; c < j.size(); ++c) {
        for (std::size_t d = 0; d < j.size(); ++d) {
          const double m = middle[c][d] / static_cast<double>(batch);
          if (m == 0) continue;
          for (std::size_t a = 0; a < size; ++a) {
            for (std::size_t b = 0; b < size; ++b) f[a][b] += m * j[c][first + a] * j[d][first + b];
          }
        }
      }
    }
    return f;
  }

  std::vector<double> loss_gradient(std::int64_t n, const std::vector<double>& z) const {
    double total = 0;
    for (const double v : z) total += std::exp(v);
    std::vector<double> g;
    for (std::size_t c = 0; c < z.size(); ++c) {
      const double t = at(targets, n * outputs + static_cast<std::int64_t>(c));
      const double p = options.loss == api::LossKind::softmax_cross_entropy ? std::exp(z[c]) / total
                       : options.loss == api::LossKind::mean_squared_error
                           ? z[c]
                           : 1 / (1 + std::exp(-z[c]));
      g.push_back(p - t);
    }
    return g;
  }

  static void put(const core::Tensor& t, std::int64_t i, double value) {
    if (t.dtype() == core::DType::f64) {
      t.data<double>()[i] = value;
    } else {
      t.data<float>()[i] = static_cast<float>(value);
    }
  }

  const optim::kfac::Block& block(const std::string& name) const {
    for (const optim::kfac::Block& b : kfac->blocks()) {
      if (b.name == name) return b;
    }
    throw core::InternalError("no block " + name);
  }

  Options options;
  std::int64_t batch;
  optim::KfacSettings settings;
  std::unique_ptr<api::Backend> backend;
  nn::Graph graph;
  std::vector<nn::CurvedLayer> layers;
  std::unique_ptr<comm::Communicator> comm;
  std::int64_t outputs;
  core::Tensor x, targets;
  std::unique_ptr<optim::kfac::Kfac> kfac;
  optim::Listening listening;

 private:
  void normalise() {
    for (std::int64_t n = 0; n < batch; ++n) {
      double sum = 0;
      for (std::int64_t c = 0; c < outputs; ++c) sum += at(targets, n * outputs + c);
      for (std::int64_t c = 0; c < outputs; ++c)
        put(targets, n * outputs + c, at(targets, n * outputs + c) / sum);
    }
  }
  void loss(const core::Tensor& z, const core::Tensor& t, const core::Tensor& dz, double scale) {
    const core::Tensor sums({z.shape()[0]}, core::DType::f64);
    const api::Loss args{.z = z, .targets = t, .loss = sums, .dz = dz, .scale = scale};
    if (options.loss == api::LossKind::softmax_cross_entropy)
      backend->loss().softmax_cross_entropy(args);
    if (options.loss == api::LossKind::mean_squared_error) backend->loss().mean_squared_error(args);
    if (options.loss == api::LossKind::bernoulli_cross_entropy)
      backend->loss().bernoulli_cross_entropy(args);
  }
  void backward(const nn::Pass& pass, const core::Tensor& dz, bool accumulate) {
    graph.backward(pass, dz.reshaped(graph.output_sample_shape().batched(dz.shape()[0])),
                   accumulate, nullptr);
  }
};

}  // namespace isaribi::testing
