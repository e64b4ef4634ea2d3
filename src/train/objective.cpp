// SPDX-License-Identifier: MIT
#include "train/objective.hpp"

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
    kind_ = Kind::softmax_cross_entropy;
  } else if (train.loss == "mean_squared_error") {
    kind_ = Kind::mean_squared_error;
  } else if (train.loss == "bernoulli_cross_entropy") {
    kind_ = Kind::bernoulli_cross_entropy;
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
  if (self_target_ && kind_ == Kind::softmax_cross_entropy) {
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
    case Kind::softmax_cross_entropy:
      backend_.loss().softmax_cross_entropy(args);
      break;
    case Kind::mean_squared_error:
      backend_.loss().mean_squared_error(args);
      break;
    case Kind::bernoulli_cross_entropy:
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

}  // namespace isaribi::train
