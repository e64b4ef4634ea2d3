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

Objective::Quadratic Objective::quadratic(const core::Tensor& z_all, const core::Tensor& slopes,
                                          const core::Tensor& change, double scale) const {
  const std::int64_t n = z_all.shape()[0], c = outputs_;
  const auto at = [](const core::Tensor& t, std::int64_t i) {
    return t.dtype() == core::DType::f64 ? t.data<double>()[i]
                                         : static_cast<double>(t.data<float>()[i]);
  };
  Quadratic q;
  for (std::int64_t i = 0; i < n; ++i) {
    double largest = -1e300, total = 0, mean = 0, square = 0;
    for (std::int64_t k = i * c; k < (i + 1) * c; ++k) largest = std::max(largest, at(z_all, k));
    for (std::int64_t k = i * c; k < (i + 1) * c; ++k) {
      const double d = at(change, k), z = at(z_all, k);
      q.slope += at(slopes, k) / scale * d;
      if (kind_ == api::LossKind::mean_squared_error) q.curvature += d * d;
      if (kind_ == api::LossKind::bernoulli_cross_entropy) {
        const double p = 1.0 / (1.0 + std::exp(-z));
        q.curvature += p * (1 - p) * d * d;
      }
      const double e = std::exp(z - largest);
      total += e;
      mean += e * d;
      square += e * d * d;
    }
    if (kind_ == api::LossKind::softmax_cross_entropy)
      q.curvature += square / total - mean * mean / (total * total);
  }
  return q;
}

}  // namespace isaribi::train
