// SPDX-License-Identifier: MIT
#include "backends/api/norm.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

void check_channel(const Check& check, std::string_view name, const core::Tensor& t,
                   const core::Tensor& x, std::int64_t channels) {
  check.type(name, t, x.dtype());
  check.shape(name, t, {channels});
}

void check_sums(const Check& check, const core::Tensor& sums, const core::Tensor& x) {
  check.type("sums", sums, core::DType::f64);
  check.shape("sums", sums, {2, x.shape().back()});
}

void check_input(const Check& check, const core::Tensor& x) {
  check.floating("x", x);
  check.at_least_rank("x", x, 2);
}

// x, y and dy of the two backward passes.
template <typename Args>
void check_backward(const Check& check, const Args& a) {
  check_input(check, a.x);
  check.fusable(a.activation);
  if (a.activation != Activation::none) check.like("y", a.y, a.x);
  check.like("dy", a.dy, a.x);
  check_channel(check, "mean", a.mean, a.x, a.x.shape().back());
  check_channel(check, "inv_std", a.inv_std, a.x, a.x.shape().back());
  check_sums(check, a.sums, a.x);
}

}  // namespace

void NormOps::statistics(const BatchNormStatistics& a) {
  const Check check(Op::batch_norm_statistics);
  check_input(check, a.x);
  check_sums(check, a.sums, a.x);
  do_statistics(a);
}

void NormOps::normalize(const BatchNormNormalize& a) {
  const Check check(Op::batch_norm_normalize);
  check_input(check, a.x);
  check.like("y", a.y, a.x);
  check.fusable(a.activation);
  const std::int64_t channels = a.x.shape().back();
  check_channel(check, "mean", a.mean, a.x, channels);
  check_channel(check, "inv_std", a.inv_std, a.x, channels);
  check_channel(check, "gamma", a.gamma, a.x, channels);
  check_channel(check, "beta", a.beta, a.x, channels);
  do_normalize(a);
}

void NormOps::backward_reduce(const BatchNormBackwardReduce& a) {
  check_backward(Check(Op::batch_norm_backward_reduce), a);
  do_backward_reduce(a);
}

void NormOps::backward_apply(const BatchNormBackwardApply& a) {
  const Check check(Op::batch_norm_backward_apply);
  check_backward(check, a);
  check_channel(check, "gamma", a.gamma, a.x, a.x.shape().back());
  check.like("dx", a.dx, a.x);
  check.require(a.elements > 0 || a.x.count() == 0,
                "elements must be the number of values per channel, over all ranks");
  do_backward_apply(a);
}

void NormOps::fold(const BatchNormFold& a) {
  const Check check(Op::batch_norm_fold);
  check.floating("w", a.w);
  check.at_least_rank("w", a.w, 2);
  const std::int64_t outputs = a.w.shape()[0];
  check_channel(check, "bias", a.bias, a.w, outputs);
  check_channel(check, "mean", a.mean, a.w, outputs);
  check_channel(check, "inv_std", a.inv_std, a.w, outputs);
  check_channel(check, "gamma", a.gamma, a.w, outputs);
  check_channel(check, "beta", a.beta, a.w, outputs);
  do_fold(a);
}

}  // namespace isaribi::api
