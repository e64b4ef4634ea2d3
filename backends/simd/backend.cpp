// SPDX-License-Identifier: MIT
// What simd owns, and the backend around its families.
#include "backends/simd/backend.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "backends/simd/blas.hpp"
#include "backends/simd/kronecker.hpp"
#include "backends/simd/parallel.hpp"
#include "core/error.hpp"

namespace isaribi::simd {
namespace {

constexpr std::int64_t kWorthANote = 4096;  // elements; smaller fallbacks cost nothing

}  // namespace

bool owns(api::Op op, core::DType type) {
  using api::Op;
  switch (op) {
    case Op::gemm:
    case Op::syrk:
    case Op::cholesky:
    case Op::cholesky_inverse:
    case Op::symmetric_eigen:
    case Op::triangular_solve:
    case Op::axpby:
    case Op::fill:
    case Op::concat:
    case Op::split:
      return type == core::DType::f32 || type == core::DType::f64;
    case Op::conv_forward:
    case Op::conv_backward_data:
    case Op::conv_backward_weights:
    case Op::linear_forward:
    case Op::linear_backward_data:
    case Op::linear_backward_weights:
    case Op::patch_covariance:
    case Op::norm_fisher:
    case Op::batch_norm_statistics:
    case Op::batch_norm_normalize:
    case Op::batch_norm_backward_reduce:
    case Op::batch_norm_backward_apply:
    case Op::max_pool_forward:
    case Op::max_pool_backward:
    case Op::average_pool_forward:
    case Op::average_pool_backward:
    case Op::global_average_forward:
    case Op::global_average_backward:
    case Op::activation_forward:
    case Op::activation_backward:
    case Op::add:
    case Op::add_bias:
    case Op::bias_gradient:
    case Op::dot:
    case Op::kronecker:
    case Op::softmax_cross_entropy:
    case Op::bernoulli_cross_entropy:
    case Op::sgd_update:
    case Op::adam_update:
      return type == core::DType::f32;
    default:
      return false;
  }
}

api::Backend& Context::fall_back(api::Op op, const core::Tensor& operand) {
  if (operand.count() >= kWorthANote) {
    log->warn_once("simd: {} on {} has no kernel of its own here and runs on {}", api::name_of(op),
                   core::name_of(operand.dtype()), fallback->name());
  }
  return *fallback;
}

SimdBackend::SimdBackend(Level level, std::unique_ptr<api::Backend> fallback, core::Log& log)
    : context_{level, std::move(fallback), &log, {}} {
  if (!context_.fallback || context_.fallback->memory().device().kind != core::Device::Kind::host) {
    throw core::UsageError("backend simd needs a fallback that works on host memory",
                           "use --backend=reference, or a build of Kokkos for the host");
  }
  blas::use_one_thread();
}

std::string SimdBackend::description() const {
  const std::string speed =
      context_.level.gflops > 0
          ? fmt::format(", {:.0f} GFLOP/s per thread in cache", context_.level.gflops)
          : std::string();
  return fmt::format("{}{}, {} threads, {}, else {}", context_.level.kernels->isa, speed,
                     omp_get_max_threads(), blas::library_name(), context_.fallback->name());
}

void SimdBackend::copy(const core::Tensor& src, const core::Tensor& dst) {
  if (src.shape().count() != dst.shape().count() || src.dtype() != dst.dtype() ||
      src.device().kind != core::Device::Kind::host ||
      dst.device().kind != core::Device::Kind::host) {
    context_.fallback->copy(src, dst);  // which says what is wrong
    return;
  }
  const auto* from = static_cast<const std::byte*>(src.raw());
  auto* to = static_cast<std::byte*>(dst.raw());
  const auto bytes = static_cast<std::int64_t>(src.bytes());
  parallel_ranges(bytes, bytes / 4, 4096, [&](Range r) {
    std::memcpy(to + r.begin, from + r.begin, static_cast<std::size_t>(r.end - r.begin));
  });
}

std::unique_ptr<api::KroneckerPlan> SimdBackend::do_plan_kronecker(
    std::vector<api::KroneckerProduct> products) {
  const bool ours = std::all_of(products.begin(), products.end(), [](const auto& p) {
    return p.x.dtype() == core::DType::f32 && p.x.count() > 0;
  });
  return ours ? simd::plan_kronecker(std::move(products), context_)
              : Backend::do_plan_kronecker(std::move(products));
}

std::unique_ptr<api::Backend> SimdBackend::fork() {
  return std::make_unique<SimdBackend>(context_.level, context_.fallback->fork(), *context_.log);
}

}  // namespace isaribi::simd
