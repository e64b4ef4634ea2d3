// SPDX-License-Identifier: MIT
// Optimizer updates: one pass over the parameter.
#include "backends/simd/update.hpp"

#include <cmath>

#include "backends/simd/parallel.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kGrain = 1024;

}  // namespace

void Update::do_sgd(const api::SgdUpdate& args) {
  if (!owns(api::Op::sgd_update, args.w.dtype())) {
    context_.fall_back(api::Op::sgd_update, args.w).update().sgd(args);
    return;
  }
  const bool f64 = args.gradient.dtype() == core::DType::f64;
  Sgd all{};
  all.w = args.w.data<float>();
  all.velocity = args.velocity.defined() ? args.velocity.data<float>() : nullptr;
  all.g32 = f64 ? nullptr : args.gradient.data<float>();
  all.g64 = f64 ? args.gradient.data<double>() : nullptr;
  all.lr = static_cast<float>(args.lr);
  all.momentum = static_cast<float>(args.momentum);
  all.l2 = static_cast<float>(args.l2);
  all.keep = static_cast<float>(1.0 - args.lr * args.decay);
  all.nesterov = args.nesterov;
  all.scale = static_cast<float>(args.scale);
  parallel_ranges(args.w.count(), args.w.count(), kGrain, [&](Range r) {
    Sgd a = all;
    a.w += r.begin;
    if (a.velocity) a.velocity += r.begin;
    if (a.g32) a.g32 += r.begin;
    if (a.g64) a.g64 += r.begin;
    a.n = r.end - r.begin;
    context_.kernels().sgd(a);
  });
}

void Update::do_adam(const api::AdamUpdate& args) {
  if (!owns(api::Op::adam_update, args.w.dtype())) {
    context_.fall_back(api::Op::adam_update, args.w).update().adam(args);
    return;
  }
  const bool f64 = args.gradient.dtype() == core::DType::f64;
  const auto step = static_cast<double>(args.step);
  Adam all{};
  all.w = args.w.data<float>();
  all.m = args.m.data<float>();
  all.v = args.v.data<float>();
  all.g32 = f64 ? nullptr : args.gradient.data<float>();
  all.g64 = f64 ? args.gradient.data<double>() : nullptr;
  all.lr = static_cast<float>(args.lr);
  all.beta1 = static_cast<float>(args.beta1);
  all.beta2 = static_cast<float>(args.beta2);
  all.rest1 = static_cast<float>(1.0 - args.beta1);
  all.rest2 = static_cast<float>(1.0 - args.beta2);
  all.epsilon = static_cast<float>(args.epsilon);
  all.l2 = static_cast<float>(args.l2);
  all.keep = static_cast<float>(1.0 - args.lr * args.decay);
  all.correct1 = static_cast<float>(1.0 / (1.0 - std::pow(args.beta1, step)));
  all.correct2 = static_cast<float>(1.0 / (1.0 - std::pow(args.beta2, step)));
  parallel_ranges(args.w.count(), args.w.count(), kGrain, [&](Range r) {
    Adam a = all;
    a.w += r.begin;
    a.m += r.begin;
    a.v += r.begin;
    if (a.g32) a.g32 += r.begin;
    if (a.g64) a.g64 += r.begin;
    a.n = r.end - r.begin;
    context_.kernels().adam(a);
  });
}

}  // namespace isaribi::simd
