// SPDX-License-Identifier: MIT
#include "backends/selftest/bench_cases.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

/// Uniform in [-1, 1).
Tensor noise(api::Backend& backend, const Shape& shape) {
  Tensor host(shape, DType::f32);
  const core::Philox key(1, core::Purpose::test);
  for (std::int64_t i = 0; i < host.count(); ++i) {
    host.data<float>()[i] = 2.0f * key.uniform(0, static_cast<std::uint64_t>(i)) - 1.0f;
  }
  Tensor device = backend.make(shape, DType::f32);
  backend.copy(host, device);
  backend.synchronize();
  return device;
}

double bytes_of(std::initializer_list<Tensor> tensors) {
  double sum = 0;
  for (const Tensor& t : tensors) sum += static_cast<double>(t.bytes());
  return sum;
}

/// Multiply-adds whose tap lies inside the image, along one axis.
double inside(std::int64_t out, std::int64_t in, std::int64_t kernel, std::int64_t stride,
              std::int64_t pad, std::int64_t dilation) {
  double count = 0;
  for (std::int64_t p = 0; p < out; ++p) {
    for (std::int64_t r = 0; r < kernel; ++r) {
      const std::int64_t at = p * stride - pad + r * dilation;
      if (at >= 0 && at < in) count += 1;
    }
  }
  return count;
}

Case conv_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n"), h = a.integer("h"), w = a.integer("w", h),
                     i = a.integer("i"), o = a.integer("o"), k = a.integer("k");
  api::ConvGeometry g;
  g.stride_h = g.stride_w = a.integer("s", 1);
  g.pad_top = g.pad_bottom = g.pad_left = g.pad_right = a.integer("p", 0);
  g.groups = a.integer("g", 1);
  const std::int64_t p = g.out_h(h, k), q = g.out_w(w, k);
  const Tensor x = noise(b, {n, h, w, i}), weights = noise(b, {o, k, k, i / g.groups}),
               y = noise(b, {n, p, q, o});
  Case c;
  c.flops = conv_flops(x.shape(), weights.shape(), g);
  c.bytes = bytes_of({x, weights, y});
  if (name == "conv_forward") {
    c.run = [=, &b] { b.conv().forward({x, weights, {}, y, g}); };
  } else if (name == "conv_backward_data") {
    c.run = [=, &b] { b.conv().backward_data({y, weights, x, g}); };
  } else {
    const Tensor dw = b.make(weights.shape(), DType::f64);
    c.run = [=, &b] { b.conv().backward_weights({x, y, dw, {}, g}); };
  }
  return c;
}

/// The second moment of patches; flops as for the lower triangle of the product of all patches.
Case factor_case(const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n"), h = a.integer("h"), i = a.integer("i"), k = a.integer("k");
  api::PatchCovariance args;
  args.kh = args.kw = k;
  args.geometry.stride_h = args.geometry.stride_w = a.integer("s", 1);
  args.geometry.pad_top = args.geometry.pad_bottom = a.integer("p", 0);
  args.geometry.pad_left = args.geometry.pad_right = a.integer("p", 0);
  args.bias = a.integer("bias", 0) != 0;
  const std::int64_t length = k * k * i + (args.bias ? 1 : 0);
  const std::int64_t out = args.geometry.out_h(h, k);
  args.x = noise(b, {n, h, h, i});
  args.a = b.make({1, length * (length + 1) / 2}, DType::f64);  // packed, as K-FAC sums it
  Case c;
  c.flops = static_cast<double>(length * (length + 1)) * static_cast<double>(n * out * out);
  c.bytes = bytes_of({args.x, args.a});
  c.run = [=, &b] { b.factor().patch_covariance(args); };
  return c;
}

Case gemm_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t m = a.integer("m"), k = a.integer("k"), n = a.integer("n", m);
  const bool ta = a.integer("ta", 0) != 0, tb = a.integer("tb", 0) != 0;
  const Tensor left = noise(b, ta ? Shape{k, m} : Shape{m, k});
  Case c;
  if (name == "syrk") {
    const Tensor out = noise(b, {m, m});
    c.flops = static_cast<double>(m) * static_cast<double>(m + 1) * static_cast<double>(k);
    c.bytes = bytes_of({left, out});
    c.run = [=, &b] { b.linalg().syrk({left, out, ta}); };
    return c;
  }
  const Tensor right = noise(b, tb ? Shape{n, k} : Shape{k, n}), out = noise(b, {m, n});
  c.flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  c.bytes = bytes_of({left, right, out});
  c.run = [=, &b] { b.linalg().gemm({left, right, out, ta, tb}); };
  return c;
}

/// A layer with a bias: its gradients are gathered, its directions written apart.
Case kronecker_case(const Arguments& a, api::Backend& b) {
  const std::int64_t m = a.integer("m"), n = a.integer("n");
  api::KroneckerProduct p{.left = noise(b, {m, m}),
                          .x = b.make({m, n}, DType::f32),
                          .right = noise(b, {n, n}),
                          .half = b.make({m, n}, DType::f32),
                          .y = b.make({m, n}, DType::f32)};
  p.gather.y = p.x;
  for (const std::int64_t width : {n - 1, std::int64_t{1}}) {
    p.parts.push_back(b.make({m, width}, DType::f32));
    p.gather.parts.push_back(b.make({m, width}, DType::f64));
    b.elementwise().fill({p.gather.parts.back(), 0.5});
  }
  Case c;
  c.flops = 2.0 * static_cast<double>(m * n) * static_cast<double>(m + n);
  c.bytes = bytes_of({p.left, p.right, p.parts[0], p.gather.parts[0]});
  c.run = [plan = std::shared_ptr(b.plan_kronecker({std::move(p)}))] { plan->run(); };
  return c;
}

/// The inverse of a positive definite matrix, as K-FAC makes it: a copy, its Cholesky factor, the
/// inverse from that.
Case inverse_case(const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n");
  const Tensor host = Tensor::zeros({n, n}, DType::f32);
  for (std::int64_t i = 0; i < n; ++i) {  // 1 / (1 + |i - j|) + I
    for (std::int64_t j = 0; j < n; ++j)
      host.data<float>()[i * n + j] =
          1.0f / static_cast<float>(1 + std::abs(i - j)) + (i == j ? 1.0f : 0.0f);
  }
  const Tensor matrix = b.make({n, n}, DType::f32), inverse = b.make({n, n}, DType::f32);
  b.copy(host, matrix);
  b.synchronize();
  Case c;
  c.flops = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  c.bytes = bytes_of({matrix, inverse});
  c.run = [=, &b] {
    b.copy(matrix, inverse);
    if (b.linalg().cholesky({inverse}) != 0 || b.linalg().cholesky_inverse({inverse}) != 0)
      throw core::InternalError("a positive definite matrix was not inverted");
  };
  return c;
}

Case linear_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n"), i = a.integer("i"), o = a.integer("o");
  const Tensor x = noise(b, {n, i}), w = noise(b, {o, i}), y = noise(b, {n, o});
  Case c;
  c.flops = 2.0 * static_cast<double>(n) * static_cast<double>(i * o);
  c.bytes = bytes_of({x, w, y});
  if (name == "linear_forward") {
    c.run = [=, &b] { b.linear().forward({x, w, {}, y}); };
  } else if (name == "linear_backward_data") {
    c.run = [=, &b] { b.linear().backward_data({y, w, x}); };
  } else {
    const Tensor dw = b.make(w.shape(), DType::f64);
    c.run = [=, &b] { b.linear().backward_weights({x, y, dw, {}}); };
  }
  return c;
}

Case norm_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n"), h = a.integer("h"), channels = a.integer("i");
  const Tensor x = noise(b, {n, h, h, channels}), y = noise(b, x.shape()), dy = noise(b, x.shape()),
               v = noise(b, {channels});
  const Tensor sums = b.make({2, channels}, DType::f64);
  b.norm().statistics({x, sums});
  const auto relu = api::Activation::relu;
  Case c;
  if (name == "batch_norm_statistics") {
    c.bytes = bytes_of({x});
    c.run = [=, &b] { b.norm().statistics({x, sums}); };
  } else if (name == "batch_norm_normalize") {
    c.bytes = bytes_of({x, y});
    c.run = [=, &b] { b.norm().normalize({x, v, v, v, v, y, relu}); };
  } else if (name == "batch_norm_backward_reduce") {
    c.bytes = bytes_of({x, y, dy});
    c.run = [=, &b] { b.norm().backward_reduce({x, y, dy, v, v, sums, relu}); };
  } else if (name == "batch_norm_backward_apply") {
    c.bytes = bytes_of({x, y, dy, dy});
    c.run = [=, &b] { b.norm().backward_apply({x, y, dy, v, v, v, sums, 1e6, dy, relu}); };
  } else {
    c.bytes = bytes_of({x, y, dy});
    c.run = [=, &b] { b.elementwise().add({x, dy, y, relu}); };
  }
  return c;
}

Case pool_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n"), h = a.integer("h"), channels = a.integer("i");
  const api::PoolGeometry g;
  const Shape out{n, g.out_h(h), g.out_w(h), channels};
  const Tensor x = noise(b, {n, h, h, channels}), y = noise(b, out);
  const Tensor where = b.make(out, DType::i32);
  b.pool().max_forward({x, y, where, g});
  Case c;
  c.bytes = bytes_of({x, y, where});
  if (name == "max_pool_forward") {
    c.run = [=, &b] { b.pool().max_forward({x, y, where, g}); };
  } else {
    c.run = [=, &b] { b.pool().max_backward({y, where, x, g}); };
  }
  return c;
}

Case update_case(const std::string& name, const Arguments& a, api::Backend& b) {
  const std::int64_t n = a.integer("n");
  const Tensor w = noise(b, {n}), first = noise(b, {n}), second = noise(b, {n});
  const Tensor gradient = b.make({n}, DType::f64);
  b.elementwise().fill({gradient, 0.0});
  b.elementwise().fill({second, 1.0});  // Adam's squares are not negative
  Case c;
  if (name == "sgd_update") {
    c.bytes = bytes_of({w, w, first, first, gradient});
    c.run = [=, &b] { b.update().sgd({w, gradient, first, 0.05, 0.9, 5e-4}); };
  } else {
    c.bytes = bytes_of({w, w, first, first, second, second, gradient});
    c.run = [=, &b] { b.update().adam({w, gradient, first, second, 1e-3}); };
  }
  return c;
}

}  // namespace

std::int64_t Arguments::integer(const std::string& key, std::int64_t fallback) const {
  const auto found = values_.find(key);
  if (found != values_.end()) return std::stoll(found->second);
  if (fallback < 0) throw core::UsageError("benchmark case: " + key + "= is missing");
  return fallback;
}

std::string Arguments::text(const std::string& key, const std::string& fallback) const {
  const auto found = values_.find(key);
  return found == values_.end() ? fallback : found->second;
}

double conv_flops(const Shape& x, const Shape& w, const api::ConvGeometry& g) {
  const std::int64_t p = g.out_h(x[1], w[1]), q = g.out_w(x[2], w[2]);
  return 2.0 * static_cast<double>(x[0] * w[0] * w[3]) *
         inside(p, x[1], w[1], g.stride_h, g.pad_top, g.dilation_h) *
         inside(q, x[2], w[2], g.stride_w, g.pad_left, g.dilation_w);
}

Case make_case(const std::string& name, const Arguments& arguments, api::Backend& backend) {
  if (name == "gemm" || name == "syrk") return gemm_case(name, arguments, backend);
  if (name == "patch_covariance") return factor_case(arguments, backend);
  if (name == "kronecker") return kronecker_case(arguments, backend);
  if (name == "inverse") return inverse_case(arguments, backend);
  if (name.starts_with("conv_")) return conv_case(name, arguments, backend);
  if (name.starts_with("linear_")) return linear_case(name, arguments, backend);
  if (name.starts_with("batch_norm_") || name == "add_relu") {
    return norm_case(name, arguments, backend);
  }
  if (name.starts_with("max_pool_")) return pool_case(name, arguments, backend);
  if (name.ends_with("_update")) return update_case(name, arguments, backend);
  throw core::UsageError("benchmark case \"" + name + "\" is not known");
}

}  // namespace isaribi::selftest
