// SPDX-License-Identifier: MIT
// One hierarchy as a plan, without a tuner.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "comm/allreduce/schedule_runner.hpp"
#include "comm/reduction_plan.hpp"

namespace isaribi::mpi_test {

class RunnerPlan final : public comm::AllReducePlan {
 public:
  RunnerPlan(comm::Communicator& world, const std::vector<comm::HierarchyLevel>& levels,
             comm::ScheduleOptions options)
      : runner_(world, comm::RankOrder::flat(world.size()), levels, options) {}
  std::string name() const override { return "hierarchy"; }
  std::string description() const override { return runner_.hierarchy().text(); }

 private:
  comm::Request do_start(core::Tensor bucket, core::Tensor residual) override {
    return runner_.start(std::move(bucket), std::move(residual));
  }
  comm::ScheduleRunner runner_;
};

}  // namespace isaribi::mpi_test
