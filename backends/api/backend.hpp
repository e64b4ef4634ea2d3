// SPDX-License-Identifier: MIT
// The one door between nn/optim and hardware. A Backend is an ordered queue of work on one device:
// operations are enqueued in program order (a CPU backend runs them at once), synchronize() waits
// for all of them, and fork() opens a second queue over the same memory so that work can overlap.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "backends/api/cast.hpp"
#include "backends/api/conv.hpp"
#include "backends/api/elementwise.hpp"
#include "backends/api/factor.hpp"
#include "backends/api/kronecker.hpp"
#include "backends/api/linalg.hpp"
#include "backends/api/linear.hpp"
#include "backends/api/loss.hpp"
#include "backends/api/norm.hpp"
#include "backends/api/op.hpp"
#include "backends/api/pool.hpp"
#include "backends/api/random.hpp"
#include "backends/api/update.hpp"
#include "core/tensor.hpp"

namespace isaribi::api {

class Backend {
 public:
  virtual ~Backend() = default;

  /// "reference", "kokkos", "simd", "cuda".
  virtual std::string_view name() const = 0;
  /// One line for logs and --version: device, instruction set, libraries, threads.
  virtual std::string description() const = 0;
  /// Whether this backend's own code runs `op` on `type`; otherwise the call goes to its fallback
  /// backend.
  virtual bool owns(Op op, core::DType type) const = 0;

  /// Memory that operands of this backend must live in.
  virtual core::MemoryResource& memory() = 0;
  /// dst = src; same count and type, either side on the host or on this backend's device. Ordered
  /// like an operation; host memory may be reused only after synchronize().
  virtual void copy(const core::Tensor& src, const core::Tensor& dst) = 0;
  /// Waits until everything enqueued so far is done. @throws Error when an operation failed on the
  /// device.
  virtual void synchronize() = 0;
  /// Another queue on the same device and memory.
  virtual std::unique_ptr<Backend> fork() = 0;

  virtual ConvOps& conv() = 0;
  virtual LinearOps& linear() = 0;
  virtual LinalgOps& linalg() = 0;
  virtual FactorOps& factor() = 0;
  virtual NormOps& norm() = 0;
  virtual PoolOps& pool() = 0;
  virtual ElementwiseOps& elementwise() = 0;
  virtual LossOps& loss() = 0;
  virtual RandomOps& random() = 0;
  virtual UpdateOps& update() = 0;
  virtual CastOps& cast() = 0;

  /// Products of Kronecker form of several layers, no tensor of which is another's. The backend
  /// outlives the plan.
  std::unique_ptr<KroneckerPlan> plan_kronecker(std::vector<KroneckerProduct> products);

  /// An uninitialised tensor in this backend's memory.
  core::Tensor make(core::Shape shape, core::DType type) {
    return core::Tensor(shape, type, memory());
  }

 protected:
  /// One layer after the other by concat, gemm, dot and split, unless a backend has more to say.
  virtual std::unique_ptr<KroneckerPlan> do_plan_kronecker(std::vector<KroneckerProduct> products);
};

}  // namespace isaribi::api
