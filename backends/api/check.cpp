// SPDX-License-Identifier: MIT
#include "backends/api/check.hpp"

#include <string>

namespace isaribi::api {
namespace {

std::string text(const core::Tensor& t) {
  return std::string(core::name_of(t.dtype())) + " " + t.shape().text();
}

}  // namespace

void Check::fail(std::string_view name, const std::string& expected, const std::string& got) const {
  throw core::ShapeError(std::string(name_of(op_)) + ": operand " + std::string(name), expected,
                         got);
}

void Check::defined(std::string_view name, const core::Tensor& t) const {
  if (!t.defined()) fail(name, "a tensor", "none");
}

void Check::floating(std::string_view name, const core::Tensor& t) const {
  defined(name, t);
  if (t.dtype() != core::DType::f32 && t.dtype() != core::DType::f64)
    fail(name, "f32 or f64", text(t));
}

void Check::type(std::string_view name, const core::Tensor& t, core::DType type) const {
  defined(name, t);
  if (t.dtype() != type) fail(name, std::string(core::name_of(type)), text(t));
}

void Check::type_or_f64(std::string_view name, const core::Tensor& t, core::DType type) const {
  defined(name, t);
  if (t.dtype() != type && t.dtype() != core::DType::f64) {
    fail(name, std::string(core::name_of(type)) + " or f64", text(t));
  }
}

void Check::shape(std::string_view name, const core::Tensor& t, const core::Shape& want) const {
  defined(name, t);
  if (t.shape() != want) fail(name, want.text(), text(t));
}

void Check::rank(std::string_view name, const core::Tensor& t, int want) const {
  defined(name, t);
  if (t.shape().rank() != want) fail(name, std::to_string(want) + " dimensions", text(t));
}

void Check::at_least_rank(std::string_view name, const core::Tensor& t, int want) const {
  defined(name, t);
  if (t.shape().rank() < want)
    fail(name, "at least " + std::to_string(want) + " dimensions", text(t));
}

void Check::like(std::string_view name, const core::Tensor& t, const core::Tensor& model) const {
  defined(name, t);
  if (t.shape() != model.shape() || t.dtype() != model.dtype()) fail(name, text(model), text(t));
}

void Check::fusable(Activation activation) const {
  require(activation == Activation::none || activation == Activation::relu,
          "only none or relu can be fused");
}

void Check::require(bool good, std::string_view text) const {
  if (!good) throw core::UsageError(std::string(name_of(op_)) + ": " + std::string(text));
}

}  // namespace isaribi::api
