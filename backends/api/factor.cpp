// SPDX-License-Identifier: MIT
#include "backends/api/factor.hpp"

#include "backends/api/check.hpp"

namespace isaribi::api {
namespace {

// x, kernel and geometry fit together. @return the length of a patch.
template <typename Args>
std::int64_t check_patches(const Check& check, const Args& a) {
  const ConvGeometry& g = a.geometry;
  check.floating("x", a.x);
  check.rank("x", a.x, 4);
  check.require(a.kh >= 1 && a.kw >= 1, "a kernel has at least one tap");
  check.require(
      g.stride_h >= 1 && g.stride_w >= 1 && g.dilation_h >= 1 && g.dilation_w >= 1 && g.groups >= 1,
      "stride, dilation and groups must be at least 1");
  check.require(g.pad_top >= 0 && g.pad_left >= 0 && g.pad_bottom >= 0 && g.pad_right >= 0,
                "padding must not be negative");
  const core::Shape& xs = a.x.shape();
  check.require(xs[3] % g.groups == 0, "groups must divide the channels");
  check.require(g.out_h(xs[1], a.kh) >= 1 && g.out_w(xs[2], a.kw) >= 1,
                "the kernel is larger than the padded input");
  return a.kh * a.kw * (xs[3] / g.groups) + (a.bias ? 1 : 0);
}

}  // namespace

void FactorOps::patch_covariance(const PatchCovariance& a) {
  const Check check(Op::patch_covariance);
  const std::int64_t length = check_patches(check, a);
  check.type_or_f64("a", a.a, a.x.dtype());
  if (a.a.shape().rank() == 2) {
    check.shape("a", a.a, {a.geometry.groups, length * (length + 1) / 2});
  } else {
    check.shape("a", a.a, {a.geometry.groups, length, length});
  }
  do_patch_covariance(a);
}

void FactorOps::patch_mean(const PatchMean& a) {
  const Check check(Op::patch_mean);
  const std::int64_t length = check_patches(check, a);
  check.type("out", a.out, a.x.dtype());
  check.shape("out", a.out, {a.x.shape()[0], a.geometry.groups, length});
  do_patch_mean(a);
}

void FactorOps::norm_fisher(const NormFisher& a) {
  const Check check(Op::norm_fisher);
  check.floating("x", a.x);
  check.at_least_rank("x", a.x, 2);
  check.fusable(a.activation);
  if (a.activation != Activation::none) check.like("y", a.y, a.x);
  check.like("dy", a.dy, a.x);
  const std::int64_t channels = a.x.shape().back();
  check.type("mean", a.mean, a.x.dtype());
  check.shape("mean", a.mean, {channels});
  check.type("inv_std", a.inv_std, a.x.dtype());
  check.shape("inv_std", a.inv_std, {channels});
  check.type("sums", a.sums, core::DType::f64);
  check.shape("sums", a.sums, {3, channels});
  do_norm_fisher(a);
}

void FactorOps::fisher_vectors(const FisherVectors& a) {
  const Check check(Op::fisher_vectors);
  check.floating("z", a.z);
  check.rank("z", a.z, 2);
  check.like("dz", a.dz, a.z);
  if (a.mode == FisherMode::column) {
    check.require(a.index >= 0 && a.index < a.z.shape()[1], "index must name a column of z");
  } else {
    check.require(a.index >= 0 && a.index < std::int64_t{1} << 32, "index must lie in [0, 2^32)");
    check.type("ids", a.ids, core::DType::i32);
    check.shape("ids", a.ids, {a.z.shape()[0]});
  }
  do_fisher_vectors(a);
}

}  // namespace isaribi::api
