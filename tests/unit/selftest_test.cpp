// SPDX-License-Identifier: MIT
// The conformance suite is complete, and its checks can fail: backends that are wrong in one way
// each must be reported as failing for that operation, with the fault named.
#include "backends/selftest/selftest.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "backends/reference/backend.hpp"
#include "catch.hpp"
#include "core/error.hpp"

using namespace isaribi;
using core::DType;
using core::Tensor;

namespace {

/// A copy of `t` in host memory.
Tensor copy_of(const Tensor& t) {
  reference::ReferenceBackend backend;
  Tensor copy(t.shape(), t.dtype());
  backend.copy(t, copy);
  return copy;
}

/// Multiplies element `i` by 1 + relative, in f32 or f64.
void perturb(const Tensor& t, std::int64_t i, double relative) {
  if (i >= t.count()) return;
  if (t.dtype() == DType::f32) t.data<float>()[i] *= static_cast<float>(1.0 + relative);
  if (t.dtype() == DType::f64) t.data<double>()[i] *= 1.0 + relative;
}

using ForwardFault = std::function<void(api::ConvOps& right, const api::ConvForward& a)>;

/// Convolution whose forward pass is `fault`.
class FaultyConv final : public api::ConvOps {
 public:
  ForwardFault fault;

 private:
  void do_forward(const api::ConvForward& a) override { fault(right_, a); }
  void do_backward_data(const api::ConvBackwardData& a) override { right_.backward_data(a); }
  void do_backward_weights(const api::ConvBackwardWeights& a) override {
    api::ConvBackwardWeights b = a;
    if (forgets_accumulation) b.accumulate = false;
    right_.backward_weights(b);
    if (loses_a_sample && a.x.shape()[0] > api::kSampleBlock) drop_last_sample(a);
  }
  // Ends the sum one sample early, as a wrong last block would.
  void drop_last_sample(const api::ConvBackwardWeights& a) {
    api::ConvBackwardWeights b = a;
    b.x = a.x.rows(0, a.x.shape()[0] - 1);
    b.dy = a.dy.rows(0, a.dy.shape()[0] - 1);
    right_.backward_weights(b);
  }
  reference::Conv right_impl_;
  api::ConvOps& right_ = right_impl_;

 public:
  bool forgets_accumulation = false, loses_a_sample = false;
};

/// Losses without the subtraction of the maximum: fine until logits are large.
class NaiveSoftmax final : public api::LossOps {
  void do_softmax_cross_entropy(const api::Loss& a) override {
    right_impl_.softmax_cross_entropy(a);
    if (a.z.dtype() != DType::f32) return;
    for (std::int64_t i = 0; i < a.z.count(); ++i) {
      if (a.z.data<float>()[i] > 88.0f)  // where expf overflows
        a.loss.data<double>()[i / a.z.shape()[1]] = std::numeric_limits<double>::quiet_NaN();
    }
  }
  void do_mean_squared_error(const api::Loss& a) override { right_impl_.mean_squared_error(a); }
  void do_bernoulli_cross_entropy(const api::Loss& a) override {
    right_impl_.bernoulli_cross_entropy(a);
  }
  void do_one_hot(const api::OneHot& a) override { right_impl_.one_hot(a); }
  reference::Loss impl_;
  api::LossOps& right_impl_ = impl_;
};

/// Random operations that key dropout by the place in the batch.
class LocalDropout final : public api::RandomOps {
  void do_dropout(const api::Dropout& a) override {
    api::Dropout b = a;
    b.ids = copy_of(a.ids);
    for (std::int64_t n = 0; n < b.ids.count(); ++n)
      b.ids.data<std::int32_t>()[n] = static_cast<std::int32_t>(n);
    right_.dropout(b);
  }
  void do_uniform(const api::RandomUniform& a) override { right_.uniform(a); }
  void do_normal(const api::RandomNormal& a) override { right_.normal(a); }
  reference::Random impl_;
  api::RandomOps& right_ = impl_;
};

/// A tanh whose derivative is 1 % off: only the gradient, never the forward value.
class WrongSlope final : public api::ElementwiseOps {
  void do_activation_forward(const api::ActivationForward& a) override {
    right_.activation_forward(a);
  }
  void do_activation_backward(const api::ActivationBackward& a) override {
    right_.activation_backward(a);
    if (a.kind != api::Activation::tanh) return;
    for (std::int64_t i = 0; i < a.dx.count(); ++i) perturb(a.dx, i, 0.01);
  }
  void do_add(const api::Add& a) override { right_.add(a); }
  void do_multiply(const api::Multiply& a) override { right_.multiply(a); }
  void do_axpby(const api::Axpby& a) override { right_.axpby(a); }
  void do_fill(const api::Fill& a) override { right_.fill(a); }
  void do_add_bias(const api::AddBias& a) override { right_.add_bias(a); }
  void do_bias_gradient(const api::BiasGradient& a) override { right_.bias_gradient(a); }
  void do_concat(const api::Concat& a) override { right_.concat(a); }
  void do_split(const api::Split& a) override { right_.split(a); }
  double do_dot(const Tensor& a, const Tensor& b) override {  // accumulates in the element type
    if (a.dtype() != DType::f32) return right_.dot(a, b);
    float sum = 0.0f;
    for (std::int64_t i = 0; i < a.count(); ++i) sum += a.data<float>()[i] * b.data<float>()[i];
    return static_cast<double>(sum);
  }
  void do_argmax(const Tensor& x, const Tensor& index) override { right_.argmax(x, index); }
  reference::Elementwise impl_;
  api::ElementwiseOps& right_ = impl_;
};

/// The mistakes of existing K-FAC codes, one each: patches divided by the number of positions, the
/// Fisher of batch norm as a sum of squares instead of a square of sums, normal draws of variance
/// 1/2, and draws by place in the batch.
class FaultyFactor final : public api::FactorOps {
  void do_patch_covariance(const api::PatchCovariance& a) override {
    api::PatchCovariance b = a;
    const core::Shape& x = a.x.shape();
    b.scale /= static_cast<double>(a.geometry.out_h(x[1], a.kh) * a.geometry.out_w(x[2], a.kw));
    right_.patch_covariance(b);
  }
  void do_patch_mean(const api::PatchMean& a) override {
    api::PatchMean b = a;
    std::swap(b.geometry.pad_left, b.geometry.pad_right);
    right_.patch_mean(b);
  }
  void do_norm_fisher(const api::NormFisher& a) override {
    api::NormFisher b = a;
    const std::int64_t channels = a.x.shape().back();
    const auto rows = [&](const Tensor& t) {
      return t.defined() ? t.reshaped({t.count() / channels, channels}) : t;
    };
    b.x = rows(a.x), b.y = rows(a.y), b.dy = rows(a.dy);
    right_.norm_fisher(b);
  }
  void do_fisher_vectors(const api::FisherVectors& a) override {
    api::FisherVectors b = a;
    if (a.loss == api::LossKind::mean_squared_error && a.mode == api::FisherMode::sample) {
      b.scale *= std::sqrt(0.5);
    } else if (a.mode != api::FisherMode::column) {
      b.ids = copy_of(a.ids);
      for (std::int64_t n = 0; n < b.ids.count(); ++n)
        b.ids.data<std::int32_t>()[n] = static_cast<std::int32_t>(n);
    }
    right_.fisher_vectors(b);
  }
  reference::Factor impl_;
  api::FactorOps& right_ = impl_;
};

/// The reference backend with the families above in place of its own.
class FaultyBackend final : public api::Backend {
 public:
  FaultyConv faulty_conv;
  std::unique_ptr<api::LossOps> faulty_loss;
  std::unique_ptr<api::RandomOps> faulty_random;
  std::unique_ptr<api::ElementwiseOps> faulty_elementwise;
  std::unique_ptr<api::FactorOps> faulty_factor;

  FaultyBackend() {
    faulty_conv.fault = [](api::ConvOps& right, const api::ConvForward& a) { right.forward(a); };
  }
  std::string_view name() const override { return "faulty"; }
  std::string description() const override { return "wrong on purpose"; }
  bool owns(api::Op op, DType type) const override { return right_.owns(op, type); }
  core::MemoryResource& memory() override { return right_.memory(); }
  void copy(const Tensor& src, const Tensor& dst) override { right_.copy(src, dst); }
  void synchronize() override {}
  std::unique_ptr<api::Backend> fork() override { return std::make_unique<FaultyBackend>(); }
  api::ConvOps& conv() override { return faulty_conv; }
  api::LinearOps& linear() override { return right_.linear(); }
  api::LinalgOps& linalg() override { return right_.linalg(); }
  api::FactorOps& factor() override { return faulty_factor ? *faulty_factor : right_.factor(); }
  api::NormOps& norm() override { return right_.norm(); }
  api::PoolOps& pool() override { return right_.pool(); }
  api::ElementwiseOps& elementwise() override {
    return faulty_elementwise ? *faulty_elementwise : right_.elementwise();
  }
  api::LossOps& loss() override { return faulty_loss ? *faulty_loss : right_.loss(); }
  api::RandomOps& random() override { return faulty_random ? *faulty_random : right_.random(); }
  api::UpdateOps& update() override { return right_.update(); }
  api::CastOps& cast() override { return right_.cast(); }

 private:
  reference::ReferenceBackend right_;
};

/// Runs the cases of `op` whose description contains `text` on `backend`; @return the text of the
/// first failure, "" when all passed.
std::string failure(api::Backend& backend, const std::string& op, const std::string& text = "") {
  reference::ReferenceBackend oracle;
  selftest::Filter filter;
  filter.op = op;
  filter.text = text;
  for (const selftest::Result& r : selftest::run(backend, oracle, filter)) {
    REQUIRE(r.cases > 0);
    if (r.failures > 0) {
      CHECK(r.worst_error_over_bound > 1.0);
      return r.first_failure_text;
    }
  }
  return "";
}

std::string conv_failure(ForwardFault fault, const std::string& text = "padding") {
  FaultyBackend backend;
  backend.faulty_conv.fault = std::move(fault);
  return failure(backend, "conv_forward", text);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("every operation has a case, and the reference backend owns all of them") {
  CHECK(selftest::without_cases().empty());
  CHECK(selftest::not_owned(reference::ReferenceBackend()).empty());
}

TEST_CASE("a backend without faults passes") {
  FaultyBackend backend;
  CHECK(failure(backend, "conv_forward", "stride 2").empty());
  CHECK(failure(backend, "dropout").empty());
}

TEST_CASE("selftest finds one output that is 1e-3 off") {
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   right.forward(a);
                   perturb(a.y, 17, 1e-3);
                 }),
                 "y[17]"));
}

TEST_CASE("selftest finds f64 computed as f32") {
  CHECK_FALSE(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                right.forward(a);
                if (a.y.dtype() != DType::f64) return;
                for (std::int64_t i = 0; i < a.y.count(); ++i)
                  a.y.data<double>()[i] = static_cast<float>(a.y.data<double>()[i]);
              }).empty());
}

TEST_CASE("selftest finds padding, bias and relu that are ignored") {
  // Top and bottom swapped keeps every extent.
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   api::ConvForward b = a;
                   std::swap(b.geometry.pad_top, b.geometry.pad_bottom);
                   right.forward(b);
                 }),
                 "asymmetric padding"));
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   api::ConvForward b = a;
                   b.bias = {};
                   right.forward(b);
                 }),
                 "bias"));
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   api::ConvForward b = a;
                   b.activation = api::Activation::none;
                   right.forward(b);
                 }),
                 "relu"));
}

TEST_CASE("selftest finds outputs that are not written and memory that must not be") {
  CHECK(contains(conv_failure([](api::ConvOps&, const api::ConvForward&) {}), "nan"));
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   right.forward(a);
                   perturb(a.x, 3, 1e-3);
                 }),
                 "input x was written to"));
  CHECK(contains(conv_failure([](api::ConvOps& right, const api::ConvForward& a) {
                   right.forward(a);
                   static_cast<std::byte*>(a.y.raw())[a.y.bytes()] = std::byte{0};
                 }),
                 "memory before or behind operand y"));
}

TEST_CASE("selftest reports exceptions as failures and goes on") {
  CHECK(contains(conv_failure([](api::ConvOps&, const api::ConvForward&) {
                   throw core::InternalError("no kernel for this");
                 }),
                 "no kernel for this"));
}

TEST_CASE("selftest finds forgotten accumulation and a lost sample") {
  FaultyBackend forgets, loses;
  forgets.faulty_conv.forgets_accumulation = true;
  loses.faulty_conv.loses_a_sample = true;
  CHECK(contains(failure(forgets, "conv_backward_weights", "sample"), "accumulate"));
  CHECK_FALSE(failure(loses, "conv_backward_weights", "sample").empty());
}

TEST_CASE("selftest finds a softmax that overflows, dropout by batch position, a wrong slope") {
  FaultyBackend naive, local, slope;
  naive.faulty_loss = std::make_unique<NaiveSoftmax>();
  local.faulty_random = std::make_unique<LocalDropout>();
  slope.faulty_elementwise = std::make_unique<WrongSlope>();
  CHECK(contains(failure(naive, "softmax_cross_entropy"), "extreme"));
  CHECK_FALSE(failure(local, "dropout").empty());
  CHECK(contains(failure(slope, "activation_backward"), "tanh"));
  CHECK(contains(failure(slope, "dot"), "dot[0]"));
  CHECK(failure(slope, "activation_forward").empty());
}

TEST_CASE("the gradient check stands without the oracle") {
  // Both sides share the fault, so no comparison can see it: finite differences do.
  FaultyBackend slope, same_fault;
  slope.faulty_elementwise = std::make_unique<WrongSlope>();
  same_fault.faulty_elementwise = std::make_unique<WrongSlope>();
  selftest::Filter filter;
  filter.op = "activation_backward";
  filter.text = "tanh";
  const auto results = selftest::run(slope, same_fault, filter);
  REQUIRE(results.size() == 2);
  CHECK(contains(results[0].first_failure_text, "finite differences"));  // f64
  CHECK(results[1].failures == 0);                                       // f32: not seen
}

TEST_CASE("the usual mistakes in K-FAC statistics are found without the oracle") {
  // Both sides share the faults: identities with other operations, and moments of draws, find them.
  FaultyBackend wrong, same_fault;
  wrong.faulty_factor = std::make_unique<FaultyFactor>();
  same_fault.faulty_factor = std::make_unique<FaultyFactor>();
  const auto text_of = [&](const std::string& op, const std::string& text) {
    selftest::Filter filter;
    filter.op = op;
    filter.text = text;
    std::string found;
    for (const selftest::Result& r : selftest::run(wrong, same_fault, filter))
      found += r.first_failure_text;
    return found;
  };
  CHECK(contains(text_of("patch_covariance", "same padding"), "convolution outputs"));
  CHECK(contains(text_of("patch_mean", "asymmetric padding"), "convolution outputs"));
  CHECK(contains(text_of("norm_fisher", "sample by sample"), "gradients of single samples"));
  CHECK(contains(text_of("fisher_vectors", "squares, sample: moments"), "second moment"));
  CHECK(contains(text_of("fisher_vectors", "softmax, sample: a sample alone"), "the batch"));
  CHECK(contains(text_of("fisher_vectors", "Bernoulli, signs: a sample alone"), "the batch"));
}

TEST_CASE("the table is aligned and names what failed") {
  FaultyBackend backend;
  backend.faulty_conv.fault = [](api::ConvOps&, const api::ConvForward&) {};
  reference::ReferenceBackend oracle;
  selftest::Filter filter;
  filter.op = "conv_forward";
  filter.text = "same padding";
  const auto results = selftest::run(backend, oracle, filter);
  const std::string table = selftest::table(results);
  CHECK(contains(table, "FAILED"));
  CHECK(contains(table, "conv_forward"));
  CHECK(selftest::failures(results) > 0);
  const auto column = selftest::table_header().find("verdict");
  CHECK(selftest::table_line(results[0]).find("FAILED") == column);
}
