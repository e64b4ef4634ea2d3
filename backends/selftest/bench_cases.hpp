// SPDX-License-Identifier: MIT
// The benchmark cases by name, for `isaribi selftest --perf` and tests/perf: each prepares its
// operands once and then repeats one call.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "backends/api/backend.hpp"

namespace isaribi::selftest {

/// key=value arguments of a case.
class Arguments {
 public:
  explicit Arguments(std::map<std::string, std::string> values) : values_(std::move(values)) {}
  std::int64_t integer(const std::string& key, std::int64_t fallback = -1) const;
  std::string text(const std::string& key, const std::string& fallback = "") const;

 private:
  std::map<std::string, std::string> values_;
};

/// One prepared case.
struct Case {
  double flops = 0;  ///< of one call, 2 per multiply-add; taps on padding are not counted
  double bytes = 0;  ///< operands read once and results written once
  std::function<void()> run;
};

/// Operations of a convolution of `x` [N, H, W, I] with `w` [O, KH, KW, I / groups]: two per
/// multiply-add, taps on padding not counted. The same for all three passes.
double conv_flops(const core::Shape& x, const core::Shape& w, const api::ConvGeometry& geometry);

/// Names: gemm, syrk, patch_covariance, kronecker, inverse, conv_forward, conv_backward_data,
/// conv_backward_weights, batch_norm_*, max_pool_*, add_relu, linear_*, sgd_update, adam_update.
/// @throws core::UsageError for an unknown one.
Case make_case(const std::string& name, const Arguments& arguments, api::Backend& backend);

}  // namespace isaribi::selftest
