// SPDX-License-Identifier: MIT
// Batch normalisation (Ioffe & Szegedy 2015) over the global batch: every rank sums its samples in
// f64, the [2, C] sums are added over ranks, and mean and deviation follow on the host. A rank
// without samples takes part. Running statistics follow PyTorch: the variance that enters them is
// the unbiased one.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.hpp"
#include "nn/curvature.hpp"
#include "nn/layers/layers.hpp"

namespace isaribi::nn::layers {
namespace {

class BatchNorm final : public Layer {
 public:
  BatchNorm(OptionReader& options, const ModelSpec& model)
      : Layer(options.spec().name, options.spec().place),
        momentum_(options.number("momentum", model.batch_norm_momentum, 0.0, 1.0)),
        epsilon_(options.number("epsilon", model.batch_norm_epsilon, 0.0, 1.0)),
        sync_(options.flag("sync", model.batch_norm_sync)) {
    own_[0].name = name() + "/scale";
    own_[0].role = Role::norm_scale;
    own_[0].initialiser = {Initialiser::Kind::constant,
                           options.number("scale_init", 1.0, -1e6, 1e6)};
    own_[1].name = name() + "/shift";
    own_[1].role = Role::norm_shift;
  }

  std::string_view kind() const override { return "batch_norm"; }
  GradientFlow gradient_flow() const override { return GradientFlow::in_place; }
  bool fuse_relu() override {
    activation_ = api::Activation::relu;
    return true;
  }
  std::span<Parameter> parameters() override {
    return owner_ == this ? std::span<Parameter>(own_) : std::span<Parameter>{};
  }
  void share_parameters(Layer& owner) override;

  core::Shape infer(std::span<const core::Shape> inputs) override {
    sample_ = inputs[0];
    channels_ = sample_.back();
    own_[0].shape = own_[1].shape = core::Shape{channels_};
    return sample_;
  }

  std::optional<Curvature> curvature() override {
    return Curvature{.kind = Curvature::Kind::norm,
                     .weight = &owner_->own_[0],
                     .bias = &owner_->own_[1],
                     .outputs = channels_,
                     .positions = sample_.count() / channels_};
  }

  void prepare(api::Backend& backend, std::int64_t max_batch, core::DType type) override;
  std::vector<core::NamedTensor> state() override {
    return {{name() + "/running_mean", running_mean_},
            {name() + "/running_variance", running_variance_}};
  }

  void forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) override;
  void backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                const core::Tensor& dy, std::span<const core::Tensor> dx, bool accumulate) override;

 private:
  bool synchronised(const Pass& pass) const {
    return sync_ && pass.comm != nullptr && pass.comm->size() > 1;
  }
  double elements(const Pass& pass, const core::Tensor& x) const;
  void sum_over_ranks(const Pass& pass) const;
  void batch_statistics(const Pass& pass, const core::Tensor& x);
  void running_statistics(const Pass& pass);
  void upload(const Pass& pass) { pass.backend->copy(host_, device_); }
  template <typename T>
  void set_batch(const double* sums, double count);
  template <typename T>
  void set_running();

  double momentum_, epsilon_;
  bool sync_;
  std::array<Parameter, 2> own_;  ///< scale (gamma), shift (beta)
  BatchNorm* owner_ = this;
  api::Activation activation_ = api::Activation::none;
  core::Shape sample_;
  std::int64_t channels_ = 0;

  core::Tensor sums_, host_sums_;  ///< [2, C] f64, in the backend's memory and on the host
  core::Tensor device_, host_;  ///< [3, C]: rows mean, 1 / sqrt(var + epsilon), unbiased variance
  core::Tensor mean_, inv_std_, unbiased_variance_;  ///< rows of device_
  core::Tensor running_mean_, running_variance_;     ///< [C]
};

void BatchNorm::share_parameters(Layer& owner) {
  auto* other = dynamic_cast<BatchNorm*>(&owner);
  if (other == nullptr) {
    throw core::UsageError(where() + ": cannot share the parameters of '" + owner.name() + "', a " +
                               std::string(owner.kind()) + " layer",
                           "share names an earlier batch_norm layer");
  }
  if (other->channels_ != channels_) {
    throw core::ShapeError(where() + ": parameters shared with '" + owner.name() + "'",
                           std::to_string(other->channels_) + " channels",
                           std::to_string(channels_));
  }
  owner_ = other->owner_;  // scale and shift; running statistics stay apart
}

void BatchNorm::prepare(api::Backend& backend, std::int64_t, core::DType type) {
  sums_ = backend.make({2, channels_}, core::DType::f64);
  host_sums_ = sums_.device().kind == core::Device::Kind::host
                   ? sums_
                   : core::Tensor({2, channels_}, core::DType::f64);
  device_ = backend.make({3, channels_}, type);
  host_ = core::Tensor({3, channels_}, type);
  const core::Shape row{channels_};
  mean_ = device_.slice(0, row);
  inv_std_ = device_.slice(channels_, row);
  unbiased_variance_ = device_.slice(2 * channels_, row);
  running_mean_ = backend.make(row, type);
  running_variance_ = backend.make(row, type);
  backend.elementwise().fill({.y = running_mean_, .value = 0.0});
  backend.elementwise().fill({.y = running_variance_, .value = 1.0});
}

// Elements per channel that the statistics are taken over.
double BatchNorm::elements(const Pass& pass, const core::Tensor& x) const {
  const std::int64_t samples = synchronised(pass) ? pass.global_batch : x.shape()[0];
  return static_cast<double>(samples) * static_cast<double>(sample_.count() / channels_);
}

// sums_ += those of all other ranks; host_sums_ then holds them too.
void BatchNorm::sum_over_ranks(const Pass& pass) const {
  const bool apart = host_sums_.raw() != sums_.raw();
  if (apart) pass.backend->copy(sums_, host_sums_);
  pass.backend->synchronize();
  if (!synchronised(pass)) return;
  const auto timed = pass.time_exchange();
  pass.comm->all_reduce(host_sums_, comm::ReduceOp::sum);
  if (apart) pass.backend->copy(host_sums_, sums_);
}

template <typename T>
void BatchNorm::set_batch(const double* sums, double count) {
  T* rows = host_.data<T>();
  const double safe = std::max(count, 1.0);  // an empty batch normalises nothing
  for (std::int64_t c = 0; c < channels_; ++c) {
    const double mean = sums[c] / safe;
    const double variance = std::max(0.0, sums[channels_ + c] / safe - mean * mean);
    rows[c] = static_cast<T>(mean);
    rows[channels_ + c] = static_cast<T>(1.0 / std::sqrt(variance + epsilon_));
    rows[2 * channels_ + c] = static_cast<T>(variance * safe / std::max(count - 1.0, 1.0));
  }
}

void BatchNorm::batch_statistics(const Pass& pass, const core::Tensor& x) {
  pass.backend->norm().statistics({.x = x, .sums = sums_});
  sum_over_ranks(pass);
  const double count = elements(pass, x);
  if (x.dtype() == core::DType::f64) {
    set_batch<double>(host_sums_.data<double>(), count);
  } else {
    set_batch<float>(host_sums_.data<double>(), count);
  }
  upload(pass);
  if (count == 0.0 || !pass.running_statistics) return;
  const double m = momentum_;
  pass.backend->elementwise().axpby({.alpha = m, .x = mean_, .beta = 1.0 - m, .y = running_mean_});
  pass.backend->elementwise().axpby(
      {.alpha = m, .x = unbiased_variance_, .beta = 1.0 - m, .y = running_variance_});
}

template <typename T>
void BatchNorm::set_running() {
  T* rows = host_.data<T>();
  for (std::int64_t c = 0; c < channels_; ++c) {
    rows[channels_ + c] =
        static_cast<T>(1.0 / std::sqrt(static_cast<double>(rows[2 * channels_ + c]) + epsilon_));
  }
}

// mean_ and inv_std_ from the running statistics, which a checkpoint may have replaced since.
void BatchNorm::running_statistics(const Pass& pass) {
  pass.backend->copy(running_mean_, host_.slice(0, {channels_}));
  pass.backend->copy(running_variance_, host_.slice(2 * channels_, {channels_}));
  pass.backend->synchronize();
  if (host_.dtype() == core::DType::f64) {
    set_running<double>();
  } else {
    set_running<float>();
  }
  upload(pass);
}

void BatchNorm::forward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y) {
  if (pass.training) {
    batch_statistics(pass, x[0]);
  } else {
    running_statistics(pass);
  }
  pass.backend->norm().normalize({.x = x[0],
                                  .mean = mean_,
                                  .inv_std = inv_std_,
                                  .gamma = owner_->own_[0].value,
                                  .beta = owner_->own_[1].value,
                                  .y = y,
                                  .activation = activation_});
}

void BatchNorm::backward(const Pass& pass, std::span<const core::Tensor> x, const core::Tensor& y,
                         const core::Tensor& dy, std::span<const core::Tensor> dx,
                         bool accumulate) {
  const core::Tensor masked_by = activation_ == api::Activation::none ? core::Tensor() : y;
  const api::BatchNormBackwardReduce operands{.x = x[0],
                                              .y = masked_by,
                                              .dy = dy,
                                              .mean = mean_,
                                              .inv_std = inv_std_,
                                              .sums = sums_,
                                              .activation = activation_};
  if (tap() != nullptr) tap()->on_norm_gradient(*this, operands);
  pass.backend->norm().backward_reduce(operands);
  // The gradients of scale and shift are this rank's share: the trainer sums them with all others.
  if (pass.parameter_gradients) {
    const core::Shape row{channels_};
    const double keep = accumulate ? 1.0 : 0.0;
    auto& ops = pass.backend->elementwise();
    ops.axpby({.alpha = 1.0,
               .x = sums_.slice(channels_, row),
               .beta = keep,
               .y = owner_->own_[0].gradient});
    ops.axpby(
        {.alpha = 1.0, .x = sums_.slice(0, row), .beta = keep, .y = owner_->own_[1].gradient});
  }
  if (!dx[0].defined()) return;  // on every rank: they run the same graph
  if (synchronised(pass)) sum_over_ranks(pass);
  pass.backend->norm().backward_apply({.x = x[0],
                                       .y = masked_by,
                                       .dy = dy,
                                       .mean = mean_,
                                       .inv_std = inv_std_,
                                       .gamma = owner_->own_[0].value,
                                       .sums = sums_,
                                       .elements = elements(pass, x[0]),
                                       .dx = dx[0],
                                       .activation = activation_});
}

}  // namespace

Made make_batch_norm(OptionReader& options, const MakeContext& context) {
  options.text("share", "", {});  // read by the graph
  return std::make_unique<BatchNorm>(options, context.model);
}

}  // namespace isaribi::nn::layers
