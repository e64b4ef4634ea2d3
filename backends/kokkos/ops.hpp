// SPDX-License-Identifier: MIT
// One maker per op family; each family lives in the file of its name. The queue must outlive the
// operations.
#pragma once

#include <memory>

#include "backends/api/backend.hpp"
#include "backends/kokkos/queue.hpp"

namespace isaribi::kokkos {

std::unique_ptr<api::ConvOps> make_conv(Queue& queue);
std::unique_ptr<api::LinearOps> make_linear(Queue& queue);
std::unique_ptr<api::LinalgOps> make_linalg(Queue& queue);
std::unique_ptr<api::FactorOps> make_factor(Queue& queue);
std::unique_ptr<api::NormOps> make_norm(Queue& queue);
std::unique_ptr<api::PoolOps> make_pool(Queue& queue);
std::unique_ptr<api::ElementwiseOps> make_elementwise(Queue& queue);
std::unique_ptr<api::LossOps> make_loss(Queue& queue);
std::unique_ptr<api::RandomOps> make_random(Queue& queue);
std::unique_ptr<api::UpdateOps> make_update(Queue& queue);
std::unique_ptr<api::CastOps> make_cast(Queue& queue);

/// Address of an operand that may be undefined.
template <typename T>
T* data_or_null(const core::Tensor& tensor) {
  return tensor.defined() ? tensor.data<T>() : nullptr;
}

}  // namespace isaribi::kokkos
