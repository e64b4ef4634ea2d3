// SPDX-License-Identifier: MIT
// Argument checks shared by the public functions of all op families: each is one line where it is
// used, and each failure names the operation, the operand, what was expected and what came.
#pragma once

#include <initializer_list>
#include <string_view>

#include "backends/api/op.hpp"
#include "core/error.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

/// Checks the operands of one call of one operation.
class Check {
 public:
  explicit Check(Op op) : op_(op) {}

  /// `t` is there and holds f32 or f64.
  void floating(std::string_view name, const core::Tensor& t) const;
  /// `t` is there and holds `type`.
  void type(std::string_view name, const core::Tensor& t, core::DType type) const;
  /// `t` is there and holds `type` or f64: accumulated gradients.
  void type_or_f64(std::string_view name, const core::Tensor& t, core::DType type) const;
  /// `t` has exactly this shape.
  void shape(std::string_view name, const core::Tensor& t, const core::Shape& want) const;
  void rank(std::string_view name, const core::Tensor& t, int want) const;
  void at_least_rank(std::string_view name, const core::Tensor& t, int want) const;
  /// shape and type of `t` are those of `model`.
  void like(std::string_view name, const core::Tensor& t, const core::Tensor& model) const;
  /// The fused activation is none or relu.
  void fusable(Activation activation) const;
  /// @throws UsageError with `text` when `good` is false.
  void require(bool good, std::string_view text) const;

 private:
  [[noreturn]] void fail(std::string_view name, const std::string& expected,
                         const std::string& got) const;
  void defined(std::string_view name, const core::Tensor& t) const;
  Op op_;
};

}  // namespace isaribi::api
