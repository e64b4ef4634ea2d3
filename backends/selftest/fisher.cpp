// SPDX-License-Identifier: MIT
// Cases of the vectors that are back-propagated to form output factors: against the oracle; their
// columns against the Hessian of the loss by finite differences; and their draws, whose second
// moment must be the sum over columns to within its standard error.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using api::FisherMode;
using api::LossKind;
using core::DType;
using core::Shape;
using core::Tensor;

struct Kind {
  LossKind loss;
  const char* name;
  void (api::LossOps::*call)(const api::Loss&);
};
const Kind kKinds[] = {
    {LossKind::softmax_cross_entropy, "softmax", &api::LossOps::softmax_cross_entropy},
    {LossKind::mean_squared_error, "squares", &api::LossOps::mean_squared_error},
    {LossKind::bernoulli_cross_entropy, "Bernoulli", &api::LossOps::bernoulli_cross_entropy}};

const char* name_of(FisherMode mode) {
  return mode == FisherMode::sample ? "sample" : mode == FisherMode::column ? "column" : "signs";
}

/// Global ids, up to the largest, repeated, in no order.
Values some_ids() {
  return Values::list({7.0, 0.0, 2147483647.0, 60000.0, 7.0, 123456.0});
}

void add_against_oracle(CaseList& list, DType type, const Kind& kind, const Shape& s,
                        FisherMode mode, bool in_place) {
  struct Content {
    const char* what;
    Values z;
  };
  const Content contents[] = {
      {"uniform", Values::uniform(-4.0, 4.0)},
      {"extreme", Values([](std::int64_t, double d) { return d < 0.5 ? -1e4 * d : 1e4 * d; })}};
  for (const Content& content : contents) {
    for (const std::int64_t index : {std::int64_t{0}, s[1] - 1, std::int64_t{4294967295}}) {
      if (mode == FisherMode::column && index >= s[1]) continue;
      const auto text = fmt::format("{} {}, {}, {}, index {}{}", kind.name, s.text(), content.what,
                                    name_of(mode), index, in_place ? ", in place" : "");
      list.add(api::Op::fisher_vectors, type, text, [=](Trial& t) {
        // Elements are differences of numbers up to 1 (normals: up to 7), evaluated in f64; a sum
        // over the row enters those of softmax.
        const bool normal = kind.loss == LossKind::mean_squared_error;
        const double size = 0.5 * (normal ? 7.0 : 2.0 + std::sqrt(static_cast<double>(s[1])));
        const Bound bound = Bound::given(
            DType::f64, s[1], std::vector<double>(static_cast<std::size_t>(s.count()), size));
        api::FisherVectors a;
        a.loss = kind.loss;
        a.mode = mode;
        a.index = index;
        a.z = in_place ? t.inout("z", s, type, content.z, bound) : t.in("z", s, type, content.z);
        a.ids = t.in("ids", {s[0]}, DType::i32, some_ids());
        a.key = core::Philox(2018, core::Purpose::fisher, 1ull << 33);
        a.scale = 0.5;
        a.dz = in_place ? a.z : t.out("dz", s, type, bound);
        t.backend().factor().fisher_vectors(a);
      });
    }
  }
}

using Matrix = std::vector<double>;  // [C, C]

/// sum_c v_c v_c^T over the columns, per sample: [N] matrices.
std::vector<Matrix> sum_of_columns(Trial& t, const Kind& kind, const Tensor& z, const Tensor& dz) {
  const auto n = static_cast<std::size_t>(z.shape()[0]), c = static_cast<std::size_t>(z.shape()[1]);
  std::vector<Matrix> sums(n, Matrix(c * c, 0.0));
  for (std::size_t column = 0; column < c; ++column) {
    api::FisherVectors a;
    a.loss = kind.loss;
    a.mode = FisherMode::column;
    a.index = static_cast<std::int64_t>(column);
    a.z = z;
    a.dz = dz;
    t.backend().factor().fisher_vectors(a);
    const std::vector<double> v = t.read(dz);
    for (std::size_t k = 0; k < n; ++k) {
      for (std::size_t i = 0; i < c * c; ++i) sums[k][i] += v[k * c + i / c] * v[k * c + i % c];
    }
  }
  return sums;
}

/// Central differences of the gradient of the loss.
void add_hessian(CaseList& list, const Kind& kind) {
  const auto text = fmt::format("{}, columns against the Hessian of the loss", kind.name);
  list.add_self_judging(api::Op::fisher_vectors, DType::f64, text, [=](Trial& t) {
    constexpr DType type = DType::f64;
    constexpr double step = 1e-5;
    const Shape s{6, 4};
    const auto c = static_cast<std::size_t>(s[1]), n = static_cast<std::size_t>(s[0]);
    const Tensor z = t.inout("z", s, type, Values::uniform(-3.0, 3.0), {});
    const Tensor targets =
        t.in("targets", s, type, Values([](std::int64_t i, double) { return 0.1 * (i % 4 + 1); }));
    const Tensor dz = t.out("dz", s, type, {}), loss = t.out("loss", {s[0]}, DType::f64, {});
    const std::vector<Matrix> got = sum_of_columns(t, kind, z, dz);
    const std::vector<double> start = t.initial(z);
    const auto gradient_at = [&](std::size_t column, double moved) {
      std::vector<double> there = start;
      for (std::size_t k = 0; k < n; ++k) there[k * c + column] += moved;
      t.write(z, there);
      (t.backend().loss().*kind.call)({z, targets, loss, dz, 1.0});
      return t.read(dz);
    };
    double worst = 0.0;
    for (std::size_t j = 0; j < c; ++j) {
      const std::vector<double> above = gradient_at(j, step), below = gradient_at(j, -step);
      for (std::size_t k = 0; k < n; ++k) {
        for (std::size_t i = 0; i < c; ++i) {
          const double slope = (above[k * c + i] - below[k * c + i]) / (2.0 * step);
          worst = std::max(worst, std::fabs(slope - got[k][i * c + j]));
        }
      }
    }
    t.measure("sum over columns against finite differences", worst, 1e-8);
  });
}

/// How many standard errors of the mean of `terms` lie between it and `want`.
double standard_errors(const std::vector<double>& terms, double want, double epsilon) {
  double sum = 0.0, squares = 0.0;
  for (const double x : terms) sum += x;
  const auto count = static_cast<double>(terms.size());
  const double mean = sum / count;
  for (const double x : terms) squares += (x - mean) * (x - mean);
  // Terms that are all the same have no variance: what remains is rounding.
  const double rounding = 16.0 * epsilon + count * epsilon_of(DType::f64);
  return std::fabs(mean - want) / (std::sqrt(squares / count / count) + rounding);
}

/// Many draws for one z: mean 0, second moment the sum over columns, draws of another index
/// independent.
void add_moments(CaseList& list, DType type, const Kind& kind, FisherMode mode) {
  const auto text = fmt::format("{}, {}: moments of 8000 draws", kind.name, name_of(mode));
  list.add_self_judging(api::Op::fisher_vectors, type, text, [=](Trial& t) {
    const Shape s{8000, 5};
    const auto n = static_cast<std::size_t>(s[0]), c = static_cast<std::size_t>(s[1]);
    const Tensor z = t.in("z", s, type, Values::list({0.3, -1.2, 1.5, 0.0, -0.4}));
    const Tensor first = t.out("first", s, type, {}), second = t.out("second", s, type, {});
    const Matrix hessian = sum_of_columns(t, kind, z, first)[0];
    api::FisherVectors a;
    a.loss = kind.loss;
    a.mode = mode;
    a.z = z;
    a.ids = t.in("ids", {s[0]}, DType::i32,
                 Values([](std::int64_t i, double) { return static_cast<double>(3 * i); }));
    a.key = core::Philox(7, core::Purpose::fisher, 12);
    a.dz = first;
    t.backend().factor().fisher_vectors(a);
    a.index = 1;
    a.dz = second;
    t.backend().factor().fisher_vectors(a);
    const std::vector<double> v = t.read(first), w = t.read(second);
    const double epsilon = epsilon_of(type);
    double mean = 0.0, moment = 0.0, crossed = 0.0;
    std::vector<double> terms(n), products(n);
    for (std::size_t i = 0; i < c; ++i) {
      for (std::size_t k = 0; k < n; ++k) terms[k] = v[k * c + i];
      mean = std::max(mean, standard_errors(terms, 0.0, epsilon));
      for (std::size_t j = 0; j < c; ++j) {
        for (std::size_t k = 0; k < n; ++k) {
          terms[k] = v[k * c + i] * v[k * c + j];
          products[k] = v[k * c + i] * w[k * c + j];
        }
        moment = std::max(moment, standard_errors(terms, hessian[i * c + j], epsilon));
        crossed = std::max(crossed, standard_errors(products, 0.0, epsilon));
      }
    }
    t.measure("standard errors of the mean from 0", mean, 4.5);
    t.measure("standard errors of the second moment from the sum over columns", moment, 4.5);
    t.measure("standard errors of products with another index from 0", crossed, 4.5);
  });
}

/// A draw depends on the id, not on the place in the batch or its size.
void add_placement(CaseList& list, DType type, const Kind& kind, FisherMode mode) {
  const auto text = fmt::format("{}, {}: a sample alone", kind.name, name_of(mode));
  list.add_self_judging(api::Op::fisher_vectors, type, text, [=](Trial& t) {
    const Shape s{9, 40};
    api::FisherVectors a;
    a.loss = kind.loss;
    a.mode = mode;
    a.z = t.in("z", s, type);
    a.ids = t.in("ids", {s[0]}, DType::i32,
                 Values([](std::int64_t i, double) { return static_cast<double>(1000 - 7 * i); }));
    a.dz = t.out("together", s, type, {});
    t.backend().factor().fisher_vectors(a);
    const std::vector<double> together = t.read(a.dz);
    const Tensor alone = t.out("alone", s, type, {}), z = a.z, ids = a.ids;
    for (std::int64_t n = 0; n < s[0]; ++n) {
      a.z = z.rows(n, n + 1);
      a.ids = ids.rows(n, n + 1);
      a.dz = alone.rows(n, n + 1);
      t.backend().factor().fisher_vectors(a);
    }
    const std::vector<double> single = t.read(alone);
    double differing = 0.0;
    for (std::size_t i = 0; i < single.size(); ++i)
      differing += single[i] == together[i] ? 0.0 : 1.0;
    t.measure("elements that depend on the batch", differing, 0.5);
  });
}

}  // namespace

void add_fisher_cases(CaseList& list) {
  const Shape shapes[] = {{1, 1}, {0, 10}, {5, 10}, {7, 3}, {3, 1000}, {130, 10}};
  for (const Kind& kind : kKinds) {
    for (const DType type : kRealTypes) {
      for (const FisherMode mode : {FisherMode::sample, FisherMode::column, FisherMode::signs}) {
        for (const Shape& s : shapes) add_against_oracle(list, type, kind, s, mode, s[0] == 7);
        if (mode == FisherMode::column) continue;
        add_moments(list, type, kind, mode);
        add_placement(list, type, kind, mode);
      }
    }
    add_hessian(list, kind);
  }
}

}  // namespace isaribi::selftest
