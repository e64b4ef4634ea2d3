// SPDX-License-Identifier: MIT
// One class per family, one line per operation: its name, its multiply-adds, what it reads, what it
// writes. Families that a training step does not use go straight to the inner backend.
#include "meter.hpp"

#include <algorithm>
#include <utility>

#include "backends/selftest/bench_cases.hpp"
#include "core/timer.hpp"

namespace isaribi::perf {
namespace {

/// Bytes of the defined ones.
template <class... Tensors>
double bytes(const Tensors&... tensors) {
  return (0.0 + ... + (tensors.defined() ? static_cast<double>(tensors.bytes()) : 0.0));
}

double conv_flops(const core::Tensor& image, const core::Tensor& w, const api::ConvGeometry& g) {
  return selftest::conv_flops(image.shape(), w.shape(), g);
}

double linear_flops(const core::Tensor& rows, const core::Tensor& w) {
  return 2.0 * static_cast<double>(rows.shape()[0]) * static_cast<double>(w.count());
}

class Conv final : public api::ConvOps {
 public:
  Conv(Meter& m, api::ConvOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_forward(const api::ConvForward& a) override {
    m_.book("conv_forward", conv_flops(a.x, a.w, a.geometry), bytes(a.x, a.w, a.bias, a.y),
            [&] { inner_.forward(a); });
  }
  void do_backward_data(const api::ConvBackwardData& a) override {
    m_.book("conv_backward_data", conv_flops(a.dx, a.w, a.geometry), bytes(a.dy, a.w, a.dx),
            [&] { inner_.backward_data(a); });
  }
  void do_backward_weights(const api::ConvBackwardWeights& a) override {
    m_.book("conv_backward_weights", conv_flops(a.x, a.dw, a.geometry),
            bytes(a.x, a.dy, a.dw, a.db), [&] { inner_.backward_weights(a); });
  }
  Meter& m_;
  api::ConvOps& inner_;
};

class Linear final : public api::LinearOps {
 public:
  Linear(Meter& m, api::LinearOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_forward(const api::LinearForward& a) override {
    m_.book("linear_forward", linear_flops(a.x, a.w), bytes(a.x, a.w, a.bias, a.y),
            [&] { inner_.forward(a); });
  }
  void do_backward_data(const api::LinearBackwardData& a) override {
    m_.book("linear_backward_data", linear_flops(a.dy, a.w), bytes(a.dy, a.w, a.dx),
            [&] { inner_.backward_data(a); });
  }
  void do_backward_weights(const api::LinearBackwardWeights& a) override {
    m_.book("linear_backward_weights", linear_flops(a.x, a.dw), bytes(a.x, a.dy, a.dw, a.db),
            [&] { inner_.backward_weights(a); });
  }
  Meter& m_;
  api::LinearOps& inner_;
};

class Norm final : public api::NormOps {
 public:
  Norm(Meter& m, api::NormOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_statistics(const api::BatchNormStatistics& a) override {
    m_.book("batch_norm_statistics", 0, bytes(a.x, a.sums), [&] { inner_.statistics(a); });
  }
  void do_normalize(const api::BatchNormNormalize& a) override {
    m_.book("batch_norm_normalize", 0, bytes(a.x, a.y), [&] { inner_.normalize(a); });
  }
  void do_backward_reduce(const api::BatchNormBackwardReduce& a) override {
    m_.book("batch_norm_backward_reduce", 0, bytes(a.x, a.y, a.dy, a.sums),
            [&] { inner_.backward_reduce(a); });
  }
  void do_backward_apply(const api::BatchNormBackwardApply& a) override {
    m_.book("batch_norm_backward_apply", 0, bytes(a.x, a.y, a.dy, a.dx),
            [&] { inner_.backward_apply(a); });
  }
  void do_fold(const api::BatchNormFold& a) override { inner_.fold(a); }
  Meter& m_;
  api::NormOps& inner_;
};

class Pool final : public api::PoolOps {
 public:
  Pool(Meter& m, api::PoolOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_max_forward(const api::MaxPoolForward& a) override {
    m_.book("max_pool_forward", 0, bytes(a.x, a.y, a.argmax), [&] { inner_.max_forward(a); });
  }
  void do_max_backward(const api::MaxPoolBackward& a) override {
    m_.book("max_pool_backward", 0, bytes(a.dy, a.argmax, a.dx), [&] { inner_.max_backward(a); });
  }
  void do_average_forward(const api::AveragePoolForward& a) override {
    m_.book("average_pool_forward", 0, bytes(a.x, a.y), [&] { inner_.average_forward(a); });
  }
  void do_average_backward(const api::AveragePoolBackward& a) override {
    m_.book("average_pool_backward", 0, bytes(a.dy, a.dx), [&] { inner_.average_backward(a); });
  }
  void do_global_average_forward(const api::GlobalAverageForward& a) override {
    m_.book("global_average_forward", 0, bytes(a.x, a.y),
            [&] { inner_.global_average_forward(a); });
  }
  void do_global_average_backward(const api::GlobalAverageBackward& a) override {
    m_.book("global_average_backward", 0, bytes(a.dy, a.dx),
            [&] { inner_.global_average_backward(a); });
  }
  Meter& m_;
  api::PoolOps& inner_;
};

class Elementwise final : public api::ElementwiseOps {
 public:
  Elementwise(Meter& m, api::ElementwiseOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_activation_forward(const api::ActivationForward& a) override {
    m_.book("activation_forward", 0, bytes(a.x, a.y), [&] { inner_.activation_forward(a); });
  }
  void do_activation_backward(const api::ActivationBackward& a) override {
    m_.book("activation_backward", 0, bytes(a.y, a.dy, a.dx),
            [&] { inner_.activation_backward(a); });
  }
  void do_add(const api::Add& a) override {
    m_.book("add", 0, bytes(a.a, a.b, a.y), [&] { inner_.add(a); });
  }
  void do_multiply(const api::Multiply& a) override {
    m_.book("multiply", 0, bytes(a.a, a.b, a.y), [&] { inner_.multiply(a); });
  }
  void do_axpby(const api::Axpby& a) override {
    m_.book("axpby", 0, bytes(a.x, a.y, a.beta != 0 ? a.y : core::Tensor()),
            [&] { inner_.axpby(a); });
  }
  void do_fill(const api::Fill& a) override {
    m_.book("fill", 0, bytes(a.y), [&] { inner_.fill(a); });
  }
  void do_add_bias(const api::AddBias& a) override {
    m_.book("add_bias", 0, bytes(a.x, a.y), [&] { inner_.add_bias(a); });
  }
  void do_bias_gradient(const api::BiasGradient& a) override {
    m_.book("bias_gradient", 0, bytes(a.dy, a.db), [&] { inner_.bias_gradient(a); });
  }
  void do_concat(const api::Concat& a) override {
    m_.book("concat", 0, 2 * bytes(a.y), [&] { inner_.concat(a); });
  }
  void do_split(const api::Split& a) override {
    m_.book("split", 0, 2 * bytes(a.x), [&] { inner_.split(a); });
  }
  double do_dot(const core::Tensor& a, const core::Tensor& b) override {
    double sum = 0;
    m_.book("dot", 0, bytes(a, b), [&] { sum = inner_.dot(a, b); });
    return sum;
  }
  void do_argmax(const core::Tensor& x, const core::Tensor& index) override {
    m_.book("argmax", 0, bytes(x, index), [&] { inner_.argmax(x, index); });
  }
  Meter& m_;
  api::ElementwiseOps& inner_;
};

class Update final : public api::UpdateOps {
 public:
  Update(Meter& m, api::UpdateOps& inner) : m_(m), inner_(inner) {}

 private:
  void do_sgd(const api::SgdUpdate& a) override {
    m_.book("sgd_update", 0, 2 * bytes(a.w, a.velocity) + bytes(a.gradient),
            [&] { inner_.sgd(a); });
  }
  void do_adam(const api::AdamUpdate& a) override {
    m_.book("adam_update", 0, 2 * bytes(a.w, a.m, a.v) + bytes(a.gradient),
            [&] { inner_.adam(a); });
  }
  Meter& m_;
  api::UpdateOps& inner_;
};

}  // namespace

class Meter::Wrapped final : public api::Backend {
 public:
  Wrapped(Meter& m, api::Backend& inner)
      : m_(m),
        inner_(inner),
        conv_(m, inner.conv()),
        linear_(m, inner.linear()),
        norm_(m, inner.norm()),
        pool_(m, inner.pool()),
        elementwise_(m, inner.elementwise()),
        update_(m, inner.update()) {}

  std::string_view name() const override { return inner_.name(); }
  std::string description() const override { return inner_.description(); }
  bool owns(api::Op op, core::DType type) const override { return inner_.owns(op, type); }
  core::MemoryResource& memory() override { return inner_.memory(); }
  void copy(const core::Tensor& src, const core::Tensor& dst) override {
    m_.book("copy", 0, bytes(src, dst), [&] { inner_.copy(src, dst); });
  }
  void synchronize() override { inner_.synchronize(); }
  std::unique_ptr<api::Backend> fork() override { return inner_.fork(); }
  api::ConvOps& conv() override { return conv_; }
  api::LinearOps& linear() override { return linear_; }
  api::LinalgOps& linalg() override { return inner_.linalg(); }
  api::NormOps& norm() override { return norm_; }
  api::PoolOps& pool() override { return pool_; }
  api::ElementwiseOps& elementwise() override { return elementwise_; }
  api::LossOps& loss() override { return inner_.loss(); }
  api::RandomOps& random() override { return inner_.random(); }
  api::UpdateOps& update() override { return update_; }
  api::CastOps& cast() override { return inner_.cast(); }
  api::FactorOps& factor() override { return inner_.factor(); }

 private:
  Meter& m_;
  api::Backend& inner_;
  Conv conv_;
  Linear linear_;
  Norm norm_;
  Pool pool_;
  Elementwise elementwise_;
  Update update_;
};

Meter::Meter(api::Backend& inner, const selftest::Machine* machine)
    : inner_(inner), machine_(machine), wrapped_(std::make_unique<Wrapped>(*this, inner)) {}
Meter::~Meter() = default;

api::Backend& Meter::backend() {
  return *wrapped_;
}

template <class Call>
void Meter::book(const char* op, double flops, double bytes, const Call& call) {
  const double start = core::now_seconds();
  call();
  inner_.synchronize();
  add(op, core::now_seconds() - start, flops, bytes);
}

void Meter::add(const char* op, double seconds, double flops, double bytes) {
  Metered& sum = sums_[op];
  ++sum.calls;
  sum.seconds += seconds;
  sum.flops += flops;
  sum.bytes += bytes;
  if (machine_ != nullptr) sum.bound += machine_->bound(flops, bytes).seconds;
}

Metered Meter::total() const {
  Metered all;
  for (const auto& [op, sum] : sums_) {
    all.calls += sum.calls;
    all.seconds += sum.seconds;
    all.flops += sum.flops;
    all.bytes += sum.bytes;
    all.bound += sum.bound;
  }
  return all;
}

}  // namespace isaribi::perf
