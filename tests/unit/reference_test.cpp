// SPDX-License-Identifier: MIT
// The oracle against numbers that do not come from this program: checksums of PyTorch 2 in f64 on
// integer patterns (exact for convolution and pooling), and cases that can be done by hand.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "backends/reference/backend.hpp"
#include "catch.hpp"

using namespace isaribi;
using core::DType;
using core::Shape;
using core::Tensor;

namespace {

/// ((k step) mod modulus - offset) / divisor for element k.
Tensor pattern(const Shape& s, std::int64_t step, std::int64_t modulus, std::int64_t offset,
               double divisor = 1.0) {
  Tensor t(s, DType::f64);
  for (std::int64_t k = 0; k < s.count(); ++k)
    t.data<double>()[k] = static_cast<double>(k * step % modulus - offset) / divisor;
  return t;
}

/// sum_k element k x (k mod 97 + 1).
double checksum(const Tensor& t) {
  double sum = 0.0;
  for (std::int64_t k = 0; k < t.count(); ++k) {
    const double value = t.dtype() == DType::i32 ? t.data<std::int32_t>()[k] : t.data<double>()[k];
    sum += value * static_cast<double>(k % 97 + 1);
  }
  return sum;
}

Tensor make(const Shape& s) {
  return Tensor::zeros(s, DType::f64);
}

std::vector<double> values(const Tensor& t) {
  return {t.data<double>(), t.data<double>() + t.count()};
}

void check_close(const std::vector<double>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(want[i]).epsilon(1e-13));
}

}  // namespace

TEST_CASE("reference convolution has the checksums of PyTorch") {
  struct Row {
    Shape x, w, y;
    api::ConvGeometry g;
    double forward, dx, dw, db;
  };
  const Row rows[] = {
      {{2, 6, 5, 4}, {6, 3, 2, 4}, {2, 4, 4, 6}, {}, -11815, 2205, -9234, 12},
      {{2, 7, 6, 4},
       {6, 3, 2, 2},
       {2, 4, 5, 6},
       {2, 1, 1, 0, 2, 1, 1, 2, 2},
       -24398,
       -8414,
       -7856,
       6},
      {{3, 6, 7, 6},
       {12, 3, 3, 1},
       {3, 6, 4, 12},
       {1, 2, 1, 1, 1, 1, 1, 1, 6},
       -7909,
       -3130,
       7945,
       78},
      {{1, 9, 8, 3}, {2, 3, 3, 3}, {1, 3, 3, 2}, {2, 3, 0, 2, 1, 0, 2, 1}, -242, 2194, 3189, -6}};
  reference::ReferenceBackend backend;
  for (const Row& r : rows) {
    const Tensor x = pattern(r.x, 7, 11, 5), w = pattern(r.w, 5, 7, 3);
    const Tensor b = pattern({r.w[0]}, 3, 5, 2), dy = pattern(r.y, 3, 13, 6);
    const Tensor y = make(r.y), dx = make(r.x), dw = make(r.w), db = make({r.w[0]});
    backend.conv().forward({x, w, b, y, r.g});
    backend.conv().backward_data({dy, w, dx, r.g});
    backend.conv().backward_weights({x, dy, dw, db, r.g});
    CHECK(checksum(y) == r.forward);
    CHECK(checksum(dx) == r.dx);
    CHECK(checksum(dw) == r.dw);
    CHECK(checksum(db) == r.db);
    backend.conv().backward_weights({x, dy, dw, db, r.g, true});
    CHECK(checksum(dw) == 2 * r.dw);
    CHECK(checksum(db) == 2 * r.db);
  }
}

TEST_CASE("reference pooling has the checksums of PyTorch") {
  reference::ReferenceBackend backend;
  api::PoolGeometry g{3, 2, 2, 2, 1, 1, 1, 1};
  const Shape xs{2, 7, 6, 3}, ys{2, 4, 4, 3};
  const Tensor x = pattern(xs, 17, 23, 11), dy = pattern(ys, 3, 13, 6);
  const Tensor y = make(ys), dx = make(xs), argmax(ys, DType::i32);
  backend.pool().max_forward({x, y, argmax, g});
  backend.pool().max_backward({dy, argmax, dx, g});
  CHECK(checksum(y) == 33765);
  CHECK(checksum(argmax) == 115783);
  CHECK(checksum(dx) == 463);
  backend.pool().average_forward({x, y, g});
  backend.pool().average_backward({dy, dx, g});
  CHECK(checksum(y) == Approx(-619.58333333333348).epsilon(1e-13));
  CHECK(checksum(dx) == Approx(-469.91666666666674).epsilon(1e-13));
  g.count_include_pad = true;
  backend.pool().average_forward({x, y, g});
  backend.pool().average_backward({dy, dx, g});
  CHECK(checksum(y) == Approx(-365.83333333333326).epsilon(1e-13));
  CHECK(checksum(dx) == Approx(-430).epsilon(1e-13));
}

TEST_CASE("reference losses and activations have the values of PyTorch") {
  reference::ReferenceBackend backend;
  const Tensor z = pattern({3, 4}, 7, 11, 5, 2.0), t = pattern({3, 4}, 5, 7, 0, 8.0);
  const Tensor loss = make({3}), dz = make({3, 4});
  backend.loss().softmax_cross_entropy({z, t, loss, dz});
  check_close(values(loss), {2.5100591582872944, 3.3675119335385868, 5.7539445148860633});
  CHECK(checksum(dz) == Approx(2.0376306681612295).epsilon(1e-12));
  backend.loss().bernoulli_cross_entropy({z, t, loss, dz});
  check_close(values(loss), {3.7218028436215449, 3.870565453765777, 5.0063080074983812});
  CHECK(checksum(dz) == Approx(3.60061280316887).epsilon(1e-12));

  struct Row {
    api::Activation kind;
    double forward, backward;
  };
  for (const Row& r : {Row{api::Activation::relu6, 205, 45},
                       Row{api::Activation::tanh, 32.321249160477969, 12.553218316291085},
                       Row{api::Activation::sigmoid, 53.254533165523171, 5.8247019682354262},
                       Row{api::Activation::swish, 226.23465928639172, 55.150107925356942}}) {
    const Tensor x = pattern({12}, 7, 29, 11, 2.0), ones = pattern({12}, 1, 1, -1);
    const Tensor y = make({12}), dx = make({12});
    backend.elementwise().activation_forward({r.kind, x, y});
    backend.elementwise().activation_backward({r.kind, x, y, ones, dx});
    CHECK(checksum(y) == Approx(r.forward).epsilon(1e-13));
    CHECK(checksum(dx) == Approx(r.backward).epsilon(1e-13));
  }
}

TEST_CASE("reference batch norm with a fused relu has the values of PyTorch") {
  reference::ReferenceBackend backend;
  const Shape s{2, 3, 2, 3}, c{3};
  const Tensor x = pattern(s, 17, 23, 11, 4.0), dy = pattern(s, 3, 13, 6, 8.0);
  const Tensor sums = make({2, 3}), mean = make(c), inv_std = make(c), y = make(s), dx = make(s);
  const Tensor gamma = make(c), beta = make(c);
  const double scale[] = {0.5, 1.0, 2.0}, shift[] = {0.1, -0.2, 0.3};
  backend.norm().statistics({x, sums});
  for (int k = 0; k < 3; ++k) {
    gamma.data<double>()[k] = static_cast<float>(scale[k]);
    beta.data<double>()[k] = shift[k];
    const double m = sums.data<double>()[k] / 12.0;
    mean.data<double>()[k] = m;
    inv_std.data<double>()[k] = 1.0 / std::sqrt(sums.data<double>()[3 + k] / 12.0 - m * m + 1e-3);
  }
  const auto relu = api::Activation::relu;
  backend.norm().normalize({x, mean, inv_std, gamma, beta, y, relu});
  backend.norm().backward_reduce({x, y, dy, mean, inv_std, sums, relu});
  backend.norm().backward_apply({x, y, dy, mean, inv_std, gamma, sums, 12.0, dx, relu});
  CHECK(checksum(y) == Approx(378.31332481112383).epsilon(1e-12));
  CHECK(checksum(dx) == Approx(-17.342509486870192).epsilon(1e-12));
  check_close(values(sums),
              {0.375, -0.5, 0.375, -0.1239066049398874, 0.31571557358854296, 0.09674155054404186});
}

TEST_CASE("three steps of the reference optimizers give the weights of PyTorch") {
  reference::ReferenceBackend backend;
  const Tensor w = pattern({5}, 3, 5, 2, 4.0), velocity = make({5});
  for (int step = 0; step < 3; ++step) {
    api::SgdUpdate a{w, pattern({5}, 2 + step, 7, 3, 8.0), velocity};
    a.lr = 0.1;
    a.momentum = 0.9;
    a.l2 = 0.01;
    a.nesterov = true;
    backend.update().sgd(a);
  }
  check_close(values(w), {-0.19466624335799998, 0.26710008602274998, -0.34483971102275002,
                          0.35373574335799995, 0.041807971475000004});

  const Tensor u = pattern({5}, 3, 5, 2, 4.0), m = make({5}), v = make({5});
  for (int step = 0; step < 3; ++step) {
    api::AdamUpdate a{u, pattern({5}, 2 + step, 7, 3, 8.0), m, v};
    a.lr = 0.01;
    a.beta2 = 0.99;
    a.epsilon = 1e-6;
    a.decay = 0.1;
    a.step = step + 1;
    backend.update().adam(a);
  }
  check_close(values(u), {-0.46853156941981355, 0.26508102791130927, -0.27095928928933832,
                          0.47847551186139431, 0.011204077039910887});
}

TEST_CASE("reference factorisations by hand") {
  reference::ReferenceBackend backend;
  const Tensor a = make({3, 3});  // L L^T with L = [2; 6 1; -8 5 3]
  const double lower[] = {4, 0, 0, 12, 37, 0, -16, -43, 98};
  std::copy_n(lower, 9, a.data<double>());
  CHECK(backend.linalg().cholesky({a}) == 0);
  check_close(values(a), {2, 0, 0, 6, 1, 0, -8, 5, 3});

  const Tensor b = pattern({3, 1}, 1, 3, -1);  // solve L x = (1, 2, 3)
  backend.linalg().triangular_solve({a, b});
  check_close(values(b), {0.5, -1.0, 4.0});

  const Tensor s = make({2, 2}), w = make({2});  // [2 1; 1 2]: eigenvalues 1 and 3
  const double two[] = {2, 0, 1, 2};
  std::copy_n(two, 4, s.data<double>());
  CHECK(backend.linalg().symmetric_eigen({s, w}) == 0);
  check_close(values(w), {1, 3});
  CHECK(s.data<double>()[0] == Approx(-s.data<double>()[2]));
  CHECK(s.data<double>()[1] == Approx(s.data<double>()[3]));

  const Tensor bad = Tensor::zeros({2, 2}, DType::f64);
  CHECK(backend.linalg().cholesky({bad}) == 1);
}

TEST_CASE("reference casts round once, to even, and saturate") {
  reference::ReferenceBackend backend;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> in = {0.5, 1.5, 2.5, -0.5, 300, -300, nan, 1e300, 127.5, -128.5};
  const Tensor x({10}, DType::f64), i8({10}, DType::i8), u8({10}, DType::u8), i32({10}, DType::i32);
  std::copy(in.begin(), in.end(), x.data<double>());
  backend.cast().cast(x, i8);
  backend.cast().cast(x, u8);
  backend.cast().cast(x, i32);
  const std::vector<int> want8 = {0, 2, 2, 0, 127, -128, 0, 127, 127, -128};
  const std::vector<int> want_u8 = {0, 2, 2, 0, 255, 0, 0, 255, 128, 0};
  for (int k = 0; k < 10; ++k) {
    CHECK(i8.data<std::int8_t>()[k] == want8[static_cast<std::size_t>(k)]);
    CHECK(u8.data<std::uint8_t>()[k] == want_u8[static_cast<std::size_t>(k)]);
  }
  CHECK(i32.data<std::int32_t>()[7] == std::numeric_limits<std::int32_t>::max());

  // 1 + 2^-11 is a tie in f16; a bit more must round up even though f32 cannot hold the bit.
  const Tensor y({1}, DType::f64), h({1}, DType::f16);
  y.data<double>()[0] = 1.0 + 0x1p-11 + 0x1p-40;
  backend.cast().cast(y, h);
  CHECK(static_cast<float>(h.data<core::Half>()[0]) == 1.0f + 0x1p-10f);
  y.data<double>()[0] = 1.0 + 0x1p-11;
  backend.cast().cast(y, h);
  CHECK(static_cast<float>(h.data<core::Half>()[0]) == 1.0f);
}

TEST_CASE("reference draws have the moments of their distributions") {
  reference::ReferenceBackend backend;
  constexpr std::int64_t n = 200000;
  const Tensor x = make({n});
  const auto moments = [&] {
    double mean = 0.0, square = 0.0, fourth = 0.0;
    for (const double v : values(x)) {
      mean += v / n;
      square += v * v / n;
      fourth += v * v * v * v / n;
    }
    return std::vector<double>{mean, square, fourth};
  };
  backend.random().normal({x, core::Philox(1, core::Purpose::test), 0});
  CHECK(std::fabs(moments()[0]) < 0.01);
  CHECK(moments()[1] == Approx(1.0).margin(0.02));
  CHECK(moments()[2] == Approx(3.0).margin(0.15));
  backend.random().uniform({x, core::Philox(1, core::Purpose::test), 1});
  CHECK(moments()[0] == Approx(0.5).margin(0.005));
  CHECK(moments()[1] == Approx(1.0 / 3.0).margin(0.005));

  // Dropout keeps the mean, and depends on the sample id alone, not on the place in the batch.
  const Tensor ones = pattern({2, 50000}, 1, 1, -1), y = make({2, 50000}), ids({2}, DType::i32);
  ids.data<std::int32_t>()[0] = ids.data<std::int32_t>()[1] = 77;
  backend.random().dropout({ones, ids, y, 0.3, core::Philox(1, core::Purpose::dropout, 5)});
  double mean = 0.0;
  for (const double v : values(y)) mean += v / 100000.0;
  CHECK(mean == Approx(1.0).margin(0.02));
  const auto both = values(y);
  CHECK(std::equal(both.begin(), both.begin() + 50000, both.begin() + 50000));
}
