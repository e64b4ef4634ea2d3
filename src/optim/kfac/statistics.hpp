// SPDX-License-Identifier: MIT
// Listens to the passes of a step and sums the statistics that are due: A from inputs, G from
// output gradients, the unit-wise Fisher of norms, EKFAC's second moments. A statistic whose last
// contribution has arrived leaves for its owner at once, while forward or backward goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "backends/api/backend.hpp"
#include "comm/owner_exchange.hpp"
#include "nn/curvature.hpp"
#include "optim/kfac/block.hpp"
#include "optim/kfac/placement.hpp"

namespace isaribi::optim::kfac {

/// The step whose passes follow.
struct StepSamples {
  std::int64_t global = 0;  ///< samples of all ranks and micro-batches
  std::int64_t parts = 1;   ///< micro-batches
  std::int64_t passes = 1;  ///< backward passes that are heard, per micro-batch
  std::int64_t draws = 1;   ///< over which G is a mean: Monte-Carlo samples, else 1
};

class Statistics final : public nn::CurvatureTap {
 public:
  Statistics(std::vector<Block>& blocks, const KfacSettings& settings, const Placement& placement,
             api::Backend& backend, comm::Communicator& comm, comm::OwnerRoute* route);
  /// Which layer feeds which block.
  void connect(const nn::Layer& layer, const nn::Curvature& shape, std::size_t block) {
    block_of_[&layer] = {block, shape};
  }

  /// Before the first pass: those with `wanted` set will be summed.
  void begin(const StepSamples& samples);
  /// Waits until owners have the sums. @return samples that entered them, over all ranks (with
  /// placement dp: of this rank).
  double finish();
  std::int64_t bytes_sent() const { return reducer_.bytes_sent(); }
  /// Spent listening since the last clear_seconds().
  double seconds() const { return seconds_; }
  void clear_seconds() { seconds_ = 0; }

  void on_input(const nn::Layer& layer, const core::Tensor& input) override;
  void on_output_gradient(const nn::Layer& layer, const core::Tensor& input,
                          const core::Tensor& gradient) override;
  void on_norm_gradient(const nn::Layer& layer,
                        const api::BatchNormBackwardReduce& operands) override;

 private:
  void expect(Block& block);
  core::Tensor used(const core::Tensor& rows) const;
  void add_input(Block& block, const nn::Curvature& layer, const core::Tensor& x);
  void add_gradient(Block& block, const core::Tensor& dy);
  void add_moments(Block& block, const core::Tensor& x, const core::Tensor& dy);
  void add_linear_moments(Block& block, const core::Tensor& x, const core::Tensor& dy);
  void add_mean(Block& block, Statistic& statistic, core::Tensor& mean, std::int64_t& uses,
                const api::PatchMean& patches, double scale);
  bool first(const Statistic& statistic) const { return statistic.seen == 0; }
  void count(Block& block, Statistic& statistic);

  std::vector<Block>& blocks_;
  const KfacSettings& settings_;
  const Placement& placement_;
  api::Backend& backend_;
  comm::Communicator& comm_;
  comm::OwnerReducer reducer_;
  struct Link {
    std::size_t block;
    nn::Curvature shape;  ///< of this layer: those that share weights may differ in geometry
  };
  std::map<const nn::Layer*, Link> block_of_;
  StepSamples samples_;
  double seconds_ = 0;
  std::int64_t rows_ = 0;               ///< of this rank that entered factors
  const nn::Layer* counted_ = nullptr;  ///< the layer by which rows are counted
};

/// Rows of a batch of n that enter the factors: kfac/sample_fraction, at least one.
std::int64_t used_rows(double fraction, std::int64_t n);
/// The payload type of a statistic on the wire.
core::DType wire_type(const KfacSettings& settings);

}  // namespace isaribi::optim::kfac
