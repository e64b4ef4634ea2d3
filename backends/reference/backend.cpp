// SPDX-License-Identifier: MIT
#include "backends/reference/backend.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <cstring>

#include "core/error.hpp"

namespace isaribi::reference {

std::string ReferenceBackend::description() const {
  return fmt::format("plain loops accumulating in double, {} OpenMP threads",
                     omp_get_max_threads());
}

bool ReferenceBackend::owns(api::Op op, core::DType type) const {
  if (op == api::Op::cast || op == api::Op::fill) return true;
  return type == core::DType::f32 || type == core::DType::f64;
}

void ReferenceBackend::copy(const core::Tensor& src, const core::Tensor& dst) {
  if (src.count() != dst.count() || src.dtype() != dst.dtype()) {
    throw core::ShapeError("copy", std::string(name_of(dst.dtype())) + " " + dst.shape().text(),
                           std::string(name_of(src.dtype())) + " " + src.shape().text());
  }
  if (src.bytes() > 0) std::memmove(dst.raw(), src.raw(), src.bytes());
}

}  // namespace isaribi::reference
