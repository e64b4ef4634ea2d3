// SPDX-License-Identifier: MIT
#include "train/objective.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace isaribi::train {
namespace {

bool on_host(const core::Tensor& t) {
  return t.device().kind == core::Device::Kind::host;
}

}  // namespace

Objective::Objective(const TrainSettings& train, const data::DataSettings& data,
                     const core::Shape& output, const core::Shape& sample, std::int64_t classes,
                     core::DType type, std::int64_t max_batch, api::Backend& backend)
    : self_target_(data.targets == "self"),
      smoothing_(train.label_smoothing),
      outputs_(output.count()),
      backend_(backend) {
  if (train.loss == "softmax_cross_entropy") {
    kind_ = api::LossKind::softmax_cross_entropy;
  } else if (train.loss == "mean_squared_error") {
    kind_ = api::LossKind::mean_squared_error;
  } else if (train.loss == "bernoulli_cross_entropy") {
    kind_ = api::LossKind::bernoulli_cross_entropy;
  } else {
    throw core::UsageError(
        "train/loss = \"" + train.loss + "\" is not a loss",
        "use softmax_cross_entropy, mean_squared_error or bernoulli_cross_entropy");
  }
  classifies_ = !self_target_;
  if (self_target_ && output.count() != sample.count()) {
    throw core::ShapeError("data/targets = \"self\": the last layer",
                           std::to_string(sample.count()) + " outputs",
                           std::to_string(output.count()),
                           "an autoencoder ends with as many outputs as the sample has values");
  }
  if (self_target_ && kind_ == api::LossKind::softmax_cross_entropy) {
    throw core::UsageError(
        "data/targets = \"self\" does not go with train/loss = \"softmax_cross_entropy\"",
        "use bernoulli_cross_entropy (with data/normalize = \"unit\") or mean_squared_error");
  }
  if (classifies_ && classes == 0) {
    throw core::UsageError("the data set has no labels",
                           "set data/targets = \"self\", or convert the set with its labels");
  }
  if (classifies_ && output.count() < classes) {
    throw core::ShapeError(
        "the last layer", "at least " + std::to_string(classes) + " outputs, one per class",
        std::to_string(output.count()), "set model/outputs, or the size of the last linear layer");
  }
  targets_ = backend.make({max_batch, outputs_}, type);
  dz_ = backend.make({max_batch, outputs_}, type);
  loss_ = backend.make({max_batch}, core::DType::f64);
  argmax_ = backend.make({max_batch}, core::DType::i32);
}

core::Tensor Objective::to_host(const core::Tensor& device, core::Tensor& staging) {
  if (on_host(device)) return device;
  if (!staging.defined() || staging.count() < device.count())
    staging = core::Tensor(device.shape(), device.dtype());
  core::Tensor host = staging.slice(0, device.shape());
  backend_.copy(device, host);
  return host;
}

Objective::Sums Objective::evaluate(const core::Tensor& output, const core::Tensor& images,
                                    const core::Tensor& labels, double scale, bool smoothing) {
  const std::int64_t n = output.shape()[0];
  const core::Tensor z = output.reshaped({n, outputs_});
  output_ = output;
  core::Tensor targets = targets_.rows(0, n);
  if (self_target_) {
    targets = images.reshaped({n, outputs_});
  } else {
    backend_.loss().one_hot(
        {.labels = labels, .targets = targets, .smoothing = smoothing ? smoothing_ : 0.0});
  }
  const api::Loss args{
      .z = z, .targets = targets, .loss = loss_.rows(0, n), .dz = dz_.rows(0, n), .scale = scale};
  switch (kind_) {
    case api::LossKind::softmax_cross_entropy:
      backend_.loss().softmax_cross_entropy(args);
      break;
    case api::LossKind::mean_squared_error:
      backend_.loss().mean_squared_error(args);
      break;
    case api::LossKind::bernoulli_cross_entropy:
      backend_.loss().bernoulli_cross_entropy(args);
      break;
  }
  gradient_ = args.dz.reshaped(output.shape());

  Sums sums;
  const core::Tensor loss = to_host(args.loss, host_loss_);
  core::Tensor best, truth;
  if (classifies_) {
    backend_.elementwise().argmax(z, argmax_.rows(0, n));
    best = to_host(argmax_.rows(0, n), host_argmax_);
    truth = to_host(labels, host_labels_);
  }
  backend_.synchronize();
  for (std::int64_t i = 0; i < n; ++i) {
    sums.loss += loss.data<double>()[i];
    if (classifies_) sums.correct += best.data<std::int32_t>()[i] == truth.data<std::int32_t>()[i];
  }
  return sums;
}

const core::Tensor& Objective::fisher_vectors(api::FisherMode mode, std::int64_t index,
                                              const core::Tensor& ids, const core::Philox& key,
                                              double scale) {
  const std::int64_t n = output_.shape()[0];
  if (!fisher_.defined()) fisher_ = backend_.make(dz_.shape(), dz_.dtype());
  const core::Tensor dz = fisher_.rows(0, n);
  backend_.factor().fisher_vectors({.loss = kind_,
                                    .mode = mode,
                                    .index = index,
                                    .z = output_.reshaped({n, outputs_}),
                                    .ids = ids,
                                    .key = key,
                                    .scale = scale,
                                    .dz = dz});
  vectors_ = dz.reshaped(output_.shape());
  return vectors_;
}

namespace {

using Plane = optim::LossModel::Plane;

/// One sample of a loss whose Hessian is diagonal: h(z) for each output.
template <typename T, typename Hessian>
void add_diagonal(std::int64_t c, const T* z, const T* slopes, const T* p, const T* q,
                  const Hessian& hessian, Plane& sums) {
  for (std::int64_t k = 0; k < c; ++k) {
    const double x = p[k], y = q[k], h = hessian(static_cast<double>(z[k]));
    sums.slope_p += slopes[k] * x;
    sums.slope_q += slopes[k] * y;
    sums.pp += h * x * x;
    sums.pq += h * x * y;
    sums.qq += h * y * y;
  }
}

/// One sample of softmax cross-entropy: H = diag(s) - s s^T, s the softmax of z.
template <typename T>
void add_softmax(std::int64_t c, const T* z, const T* slopes, const T* p, const T* q, Plane& sums) {
  const double largest = *std::max_element(z, z + c);
  double total = 0, mean_p = 0, mean_q = 0;
  for (std::int64_t k = 0; k < c; ++k) {
    const double e = std::exp(z[k] - largest);
    total += e;
    mean_p += e * p[k];
    mean_q += e * q[k];
  }
  mean_p /= total;
  mean_q /= total;
  for (std::int64_t k = 0; k < c; ++k) {
    const double s = std::exp(z[k] - largest) / total, x = p[k] - mean_p, y = q[k] - mean_q;
    sums.slope_p += slopes[k] * static_cast<double>(p[k]);
    sums.slope_q += slopes[k] * static_cast<double>(q[k]);
    sums.pp += s * x * x;
    sums.pq += s * x * y;
    sums.qq += s * y * y;
  }
}

template <typename T>
Plane plane_of(api::LossKind kind, std::int64_t n, std::int64_t c, const T* z, const T* slopes,
               const T* p, const T* q) {
  Plane sums;
  for (std::int64_t i = 0; i < n; ++i, z += c, slopes += c, p += c, q += c) {
    if (kind == api::LossKind::softmax_cross_entropy) {
      add_softmax(c, z, slopes, p, q, sums);
    } else if (kind == api::LossKind::bernoulli_cross_entropy) {
      const auto hessian = [](double x) {
        const double s = 1.0 / (1.0 + std::exp(-x));
        return s * (1 - s);
      };
      add_diagonal(c, z, slopes, p, q, hessian, sums);
    } else {
      add_diagonal(
          c, z, slopes, p, q, [](double) { return 1.0; }, sums);
    }
  }
  return sums;
}

}  // namespace

optim::LossModel::Plane Objective::quadratic(const core::Tensor& z, const core::Tensor& slopes,
                                             const core::Tensor& p, const core::Tensor& q,
                                             double scale) const {
  const std::int64_t n = z.shape()[0];
  const auto of = [&]<typename T>(T) {
    return plane_of(kind_, n, outputs_, z.data<T>(), slopes.data<T>(), p.data<T>(), q.data<T>());
  };
  Plane sums = z.dtype() == core::DType::f64 ? of(double{}) : of(float{});
  sums.slope_p /= scale;
  sums.slope_q /= scale;
  return sums;
}

}  // namespace isaribi::train
