// SPDX-License-Identifier: MIT
// What the gradient of a sharded weight is made of: dW = dy^T x over the samples of all ranks.
// Ranks exchange x and dy instead of gradients ("sufficient factors": Xie et al., UAI 2016; with
// each rank updating its part only: ZeRO, Rajbhandari et al., SC 2020), N (inputs + outputs / P)
// numbers. A rank then sums its rows as if it were alone with the whole batch: the same bits for
// every number of ranks.
#pragma once

#include <utility>

#include "backends/api/backend.hpp"
#include "comm/communicator.hpp"
#include "nn/layer.hpp"
#include "nn/sharding.hpp"

namespace isaribi::nn::layers {

class SufficientFactors {
 public:
  /// Elements that prepare() allocates.
  static std::int64_t elements(const Sharding& sharding, std::int64_t inputs, std::int64_t outputs);
  /// What it takes of node memory instead where all ranks are on one node, of elements of `width`
  /// bytes.
  static std::size_t shared_bytes(const Sharding& sharding, std::int64_t inputs,
                                  std::int64_t outputs, std::size_t width);
  void prepare(api::Backend& backend, const Sharding& sharding, std::int64_t inputs,
               std::int64_t outputs, core::DType type);

  /// Collective over pass.comm, as all below; host memory. In forward, so that they travel while
  /// the pass goes on. @param x [n, inputs] of this rank's samples
  void start_inputs(const Pass& pass, const core::Tensor& x);
  /// @param dy [n, outputs]
  void start_gradients(const Pass& pass, const core::Tensor& dy);
  struct Factors {
    core::Tensor x;   ///< [N, inputs] of all ranks, in their order
    core::Tensor dy;  ///< [N, rows of this rank]
  };
  /// Valid until the next start_inputs().
  Factors finish(const Pass& pass);

 private:
  int ranks() const { return static_cast<int>(shards_.cuts.size()) - 1; }
  /// Of the samples of a pass, those of rank r.
  static std::pair<std::int64_t, std::int64_t> samples(const Pass& pass, int r);
  core::Tensor dy_of(int owner) const;
  void write_gradients(const Pass& pass, const core::Tensor& dy);
  void send_gradients(const Pass& pass, const core::Tensor& dy);

  Shards shards_;
  core::Tensor x_, dy_, send_;  // for the largest batch
  Factors current_;
  comm::Request x_request_, dy_request_;

  // Where all ranks are on one node: x_ and what is in dy_ for each owner, which all ranks write.
  comm::NodeMemory* node_ = nullptr;
  std::int64_t finished_ = -1;  // fences before others might still read
};

}  // namespace isaribi::nn::layers
