// SPDX-License-Identifier: MIT
// What all op families of one simd backend share: the chosen kernels, scratch memory, and the
// backend that runs what we do not own.
#pragma once

#include <omp.h>

#include <memory>

#include "backends/api/backend.hpp"
#include "backends/simd/cpu.hpp"
#include "backends/simd/scratch.hpp"
#include "core/log.hpp"

namespace isaribi::simd {

/// Whether simd has its own code for `op` on `type`.
bool owns(api::Op op, core::DType type);

struct Context {
  Level level;
  std::unique_ptr<api::Backend> fallback;
  core::Log* log = nullptr;
  Scratch scratch;

  const Kernels& kernels() const { return *level.kernels; }
  /// Scratch for the current team size.
  Scratch& ready() {
    scratch.reserve_threads(omp_get_max_threads());
    return scratch;
  }
  /// The fallback, with one note per (op, type) when the call is large enough to matter.
  api::Backend& fall_back(api::Op op, const core::Tensor& operand);
};

}  // namespace isaribi::simd
