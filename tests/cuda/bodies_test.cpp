// SPDX-License-Identifier: MIT
// The bodies of the CUDA kernels, run in a loop on the host, against the reference backend: no GPU
// is needed to see that they compute the right thing. What this cannot show is the launch itself;
// `isaribi selftest` does on a GPU.
#include "backends/cuda/bodies.hpp"

#include <cmath>
#include <memory>
#include <vector>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "catch.hpp"
#include "core/log.hpp"

using namespace isaribi;

namespace {

constexpr std::int64_t kRows = 7, kChannels = 5, kCount = kRows * kChannels;

std::unique_ptr<api::Backend> oracle() {
  api::Registry registry;
  reference::register_backend(registry);
  core::Log log(0, core::Log::Level::quiet);
  return registry.create("reference", {}, log);
}

/// Values in [-8, 8] with exact zeros and corners of relu6 among them.
template <typename T>
core::Tensor filled(std::uint64_t stream, bool positive = false) {
  core::Tensor out = core::Tensor::zeros({kRows, kChannels}, core::dtype_of<T>);
  const core::Philox random(1, core::Purpose::test, stream);
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double u = random.uniform(0, static_cast<std::uint64_t>(i));
    out.data<T>()[i] = static_cast<T>(positive ? 0.1 + u : 16 * u - 8);
  }
  if (!positive) out.data<T>()[3] = 0, out.data<T>()[4] = 6;
  return out;
}

core::Tensor copy_of(const core::Tensor& tensor) {
  core::Tensor out = core::Tensor::zeros(tensor.shape(), tensor.dtype());
  std::copy_n(static_cast<const char*>(tensor.raw()), tensor.bytes(),
              static_cast<char*>(out.raw()));
  return out;
}

template <typename Body>
void run(const Body& body) {
  for (std::int64_t i = 0; i < kCount; ++i) body(i);
}

template <typename T>
void require_near(const core::Tensor& got, const core::Tensor& expected) {
  const double bound = sizeof(T) == 4 ? 2e-6 : 1e-14;
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double e = expected.data<T>()[i], g = got.data<T>()[i];
    INFO("element " << i);
    REQUIRE(std::abs(g - e) <= bound * (1 + std::abs(e)));
  }
}

template <typename T>
void test_elementwise(api::Backend& reference) {
  const core::Tensor x = filled<T>(1), dy = filled<T>(2), bias = filled<T>(3).rows(0, 1);
  for (const auto kind :
       {api::Activation::none, api::Activation::relu, api::Activation::relu6, api::Activation::tanh,
        api::Activation::sigmoid, api::Activation::swish}) {
    INFO(api::name_of(kind));
    core::Tensor y = filled<T>(4), expected = filled<T>(5);
    reference.elementwise().activation_forward({kind, x, expected});
    run(cuda::ActivationForwardBody<T>({kind, x, y}));
    require_near<T>(y, expected);
    core::Tensor dx = filled<T>(6), expected_dx = filled<T>(7);
    reference.elementwise().activation_backward({kind, x, expected, dy, expected_dx});
    run(cuda::ActivationBackwardBody<T>({kind, x, expected, dy, dx}));
    require_near<T>(dx, expected_dx);
  }
  core::Tensor y = filled<T>(4), expected = filled<T>(5);
  reference.elementwise().add({x, dy, expected, api::Activation::relu});
  run(cuda::AddBody<T>({x, dy, y, api::Activation::relu}));
  require_near<T>(y, expected);
  const core::Tensor flat_bias = bias.reshaped({kChannels});
  reference.elementwise().add_bias({x, flat_bias, expected});
  run(cuda::AddBiasBody<T>({x, flat_bias, y}));
  require_near<T>(y, expected);
}

template <typename X, typename Y>
void test_axpby(api::Backend& reference) {
  const core::Tensor x = filled<X>(1);
  core::Tensor y = filled<Y>(2), expected = copy_of(y);
  reference.elementwise().axpby({0.3, x, -1.5, expected});
  run(cuda::AxpbyBody<X, Y>({0.3, x, -1.5, y}));
  require_near<Y>(y, expected);
  // beta == 0 does not read y.
  core::Tensor poisoned = filled<Y>(3);
  poisoned.data<Y>()[0] = std::nan("");
  run(cuda::AxpbyBody<X, Y>({1.0, x, 0.0, poisoned}));
  REQUIRE(poisoned.data<Y>()[0] == static_cast<Y>(x.data<X>()[0]));
}

template <typename T, typename G>
void test_updates(api::Backend& reference) {
  const core::Tensor gradient = filled<G>(1);
  for (const double momentum : {0.0, 0.9}) {
    for (const bool nesterov : {false, true}) {
      api::SgdUpdate args{filled<T>(2), gradient, {}, 0.1, momentum, 0.01, 0.02, nesterov};
      if (momentum != 0) args.velocity = filled<T>(3);
      args.scale = nesterov ? 0.3 : 1.0;
      api::SgdUpdate expected = args;
      expected.w = copy_of(args.w);
      if (momentum != 0) expected.velocity = copy_of(args.velocity);
      reference.update().sgd(expected);
      run(cuda::SgdBody<T, G>(args));
      require_near<T>(args.w, expected.w);
      if (momentum != 0) require_near<T>(args.velocity, expected.velocity);
    }
  }
  for (const std::int64_t step : {1, 1000}) {
    api::AdamUpdate args{filled<T>(2), gradient, filled<T>(3), filled<T>(4, true),
                         0.01,         0.9,      0.999,        1e-8,
                         0.01,         0.02,     step};
    api::AdamUpdate expected = args;
    expected.w = copy_of(args.w), expected.m = copy_of(args.m), expected.v = copy_of(args.v);
    reference.update().adam(expected);
    run(cuda::AdamBody<T, G>(args));
    require_near<T>(args.w, expected.w);
    require_near<T>(args.m, expected.m);
    require_near<T>(args.v, expected.v);
  }
}

}  // namespace

TEST_CASE("kernel bodies agree with the oracle: elementwise", "[cuda]") {
  const auto reference = oracle();
  test_elementwise<float>(*reference);
  test_elementwise<double>(*reference);
  test_axpby<float, float>(*reference);
  test_axpby<float, double>(*reference);
  test_axpby<double, float>(*reference);
  test_axpby<double, double>(*reference);
}

TEST_CASE("kernel bodies agree with the oracle: updates", "[cuda]") {
  const auto reference = oracle();
  test_updates<float, float>(*reference);
  test_updates<float, double>(*reference);
  test_updates<double, double>(*reference);
}
