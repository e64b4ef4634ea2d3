// SPDX-License-Identifier: MIT
// K-FAC over MPI (Martens & Grosse 2015; Osawa et al. 2019; KAISA, Pauloski et al. 2021), with
// EKFAC (George et al. 2018) and FOOF (Benzing 2022) as variants of the same engine. The way of a
// statistic through one step: statistics.cpp sums it over samples, owner_exchange over ranks,
// renew() averages it over time, inverse.cpp inverts it, direction.cpp applies it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "optim/kfac/block.hpp"
#include "optim/kfac/build.hpp"
#include "optim/kfac/damping.hpp"
#include "optim/kfac/direction.hpp"
#include "optim/kfac/placement.hpp"
#include "optim/kfac/statistics.hpp"
#include "optim/preconditioner.hpp"

namespace isaribi::optim::kfac {

/// What the constructor would refuse on `ranks` ranks. @throws UsageError
void check(Kind kind, const KfacSettings& settings, const Subject& subject, int ranks);

class Kfac final : public Preconditioner {
 public:
  /// Collective. @param l2 weight decay that is part of the loss, which adds to the damping
  /// @throws UsageError for what cannot work: a layer without curvature, placements and damping
  /// that cannot be.
  Kfac(Kind kind, const KfacSettings& settings, double l2, const Subject& subject,
       api::Backend& backend, comm::Communicator& comm);

  Listening begin_step(const StepInfo& info) override;
  std::vector<int> gradient_owners() const override;
  bool add_decay(std::span<const double> decay) override {
    layer_directions_->set_decay(decay);
    return true;
  }
  Direction precondition(std::int64_t step) override;
  void discard() override;
  void accepted() override { damping_.advance(); }
  void refused() override;
  bool wants_trial(std::int64_t step) const override;
  void judge(const Trial& trial) override { damping_.judge(trial); }
  double damping() const override { return damping_.value() + l2_; }
  void gather_state() override;
  std::vector<core::NamedTensor> state() override;
  void adopt_state() override;
  std::vector<CurvatureReport> report() override;
  std::vector<CurvatureDump> dump() override;
  void add_cost(CurvatureCost& cost) override;

  const Placement& placement() const { return placement_; }
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  bool mine(const Block& block) const { return block.owner == comm_.rank(); }
  bool works(std::size_t block) const { return placement_.works(comm_.rank(), block); }
  struct Entry {
    Statistic* statistic;
    bool owned;  ///< by this rank
  };
  std::vector<Entry> statistics();
  std::string renew_statistics(std::int64_t step);
  double weight_of_past(const Statistic& statistic, std::int64_t step) const;
  Similarity take(Statistic& statistic, double correction, std::int64_t step) const;
  void plan_next(Statistic& statistic, std::int64_t step, std::int64_t adapted);
  void renew_inverses(std::int64_t step);
  void share_inverses(const std::vector<std::size_t>& renewed);
  void renew_eigen_divisors();
  void share_directions();
  void share_products();

  Kind kind_;
  KfacSettings settings_;
  double l2_;
  std::span<nn::Parameter* const> parameters_;
  api::Backend& backend_;
  comm::Communicator& comm_;
  comm::OwnerRoute* route_;
  std::int64_t outputs_;
  std::vector<Block> blocks_;
  Placement placement_;
  std::unique_ptr<comm::Communicator> column_, row_;  ///< of this rank; null with one member
  Damping damping_;
  std::unique_ptr<Statistics> tap_;
  bool listening_ = false;
  double divisor_damping_ = 0;  ///< lambda in the divisors of the eigen form
  bool divisors_stale_ = true;
  std::vector<core::Tensor> directions_;             ///< of the parameters, by id
  std::optional<LayerDirections> layer_directions_;  ///< of what this rank works on
  StepInfo info_;
  CurvatureCost cost_;
  std::vector<core::NamedTensor> state_;  ///< between gather_state and adopt_state
};

}  // namespace isaribi::optim::kfac
