// SPDX-License-Identifier: MIT
#include "backends/api/backend.hpp"

#include <utility>

#include "backends/api/check.hpp"

namespace isaribi::api {

void check_kronecker(std::span<const KroneckerProduct> products) {
  const Check check(Op::kronecker);
  for (const KroneckerProduct& p : products) {
    check.floating("x", p.x);
    check.rank("x", p.x, 2);
    const std::int64_t m = p.x.shape()[0], n = p.x.shape()[1];
    const auto is = [&](const char* name, const core::Tensor& t, const core::Shape& shape) {
      check.type(name, t, p.x.dtype());
      check.shape(name, t, shape);
    };
    is("left", p.left, {m, m});
    is("right", p.right, {n, n});
    is("half", p.half, {m, n});
    is("y", p.y, {m, n});
    if (!p.gather.parts.empty()) {
      check_concat(p.gather);
      check.shape("gathered", p.gather.y, p.x.shape());
      check.require(p.gather.y.raw() == p.x.raw(), "x is what is gathered");
    }
    std::int64_t columns = 0;
    for (const core::Tensor& part : p.parts) {
      check.rank("parts", part, 2);
      is("parts", part, {m, part.shape()[1]});
      columns += part.shape()[1];
    }
    if (!p.parts.empty() && columns != n)
      throw core::ShapeError("kronecker: columns of parts", std::to_string(columns),
                             std::to_string(n));
  }
}

namespace {

class LayerByLayer final : public KroneckerPlan {
 public:
  LayerByLayer(std::vector<KroneckerProduct> products, Backend& backend)
      : KroneckerPlan(std::move(products)), backend_(backend) {}

  void run() override {
    for (KroneckerProduct& p : products_) {
      if (!p.gather.parts.empty()) backend_.elementwise().concat(p.gather);
      backend_.linalg().gemm({.a = p.x, .b = p.right, .c = p.half});
      backend_.linalg().gemm({.a = p.left, .b = p.half, .c = p.y});
      p.inner = backend_.elementwise().dot(p.x, p.y);
      if (p.parts.size() == 1) backend_.copy(p.y, p.parts[0]);
      if (p.parts.size() > 1) backend_.elementwise().split({.x = p.y, .parts = p.parts});
    }
  }

 private:
  Backend& backend_;
};

}  // namespace

std::unique_ptr<KroneckerPlan> Backend::plan_kronecker(std::vector<KroneckerProduct> products) {
  check_kronecker(products);
  return do_plan_kronecker(std::move(products));
}

std::unique_ptr<KroneckerPlan> Backend::do_plan_kronecker(std::vector<KroneckerProduct> products) {
  return std::make_unique<LayerByLayer>(std::move(products), *this);
}

}  // namespace isaribi::api
