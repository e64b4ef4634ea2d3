// SPDX-License-Identifier: MIT
// Routes of one plan for every size, as the tuner would choose them.
#pragma once

#include <string>

#include "comm/allreduce/tuned_route.hpp"

namespace isaribi::mpi_test {

inline comm::TunedRoute route_of(comm::Communicator& world, const std::string& plan) {
  const comm::Tuning tuning{"", "", "", {{0, comm::parse_plan(plan), 0, 0}}};
  return {world, comm::RankOrder::flat(world.size()), tuning};
}

/// Two levels of all ranks.
inline std::string levels(const comm::Communicator& world, const std::string& exchange) {
  return exchange + "2-" + exchange + std::to_string((world.size() + 1) / 2);
}

}  // namespace isaribi::mpi_test
