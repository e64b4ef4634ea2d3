// SPDX-License-Identifier: MIT
// Nodes without room in /dev/shm: searches leave shared levels out, sums onto owners take messages
// instead, with the same bits.
#include <algorithm>
#include <cstring>

#include "comm/agreement.hpp"
#include "comm/allreduce/tuned_route.hpp"
#include "comm/allreduce/tuner.hpp"
#include "comm/owner_exchange.hpp"
#include "full_node.hpp"
#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;

namespace {

std::string shared_plan(const Communicator& world) {
  return "shared" + std::to_string(world.size()) + "/1K";
}

void refused(Communicator& world) {
  const NoRoom here;
  std::string cause;
  try {
    comm::make_runner(world, comm::discover_topology(world), comm::parse_plan(shared_plan(world)),
                      std::nullopt);
  } catch (const comm::CollectiveError& error) {
    cause = error.cause();
    expect(!error.hint().empty(), "a hint");
  }
  expect_in("/dev/shm has 0 left", cause);
}

int shared_plans(Communicator& world) {
  comm::TunerOptions options;
  options.sizes = {16384};
  options.exhaustive = true;
  options.budget_seconds = 0.1;
  const comm::TunerReport report = comm::tune(world, comm::discover_topology(world), options);
  expect(report.results.size() > 1, "plans beside the library");
  return static_cast<int>(std::count_if(
      report.results.begin(), report.results.end(),
      [](const comm::PlanResult& r) { return r.plan.text().find("shared") != std::string::npos; }));
}

void search_leaves_shared_levels_out(Communicator& world) {
  expect(shared_plans(world) > 0, "shared levels where there is room");
  const NoRoom here;
  expect_equal(shared_plans(world), 0, "shared levels where there is none");
}

/// Fractions, so that another order of sums would show; what owners got, one behind the other.
std::vector<double> owned_sums(Communicator& world) {
  const comm::Tuning tuning{"", "", "", {{0, comm::parse_plan(shared_plan(world)), 0, 0}}};
  comm::TunedRoute route(world, comm::RankOrder::flat(world.size()), tuning);
  expect(route.sums(100), "shared levels take sums");
  comm::OwnerReducer reducer(world, 300, &route);
  std::vector<core::Tensor> items;
  for (int k = 0; k < 6; ++k) {
    items.push_back(core::Tensor::zeros({100 + 13 * k}, core::DType::f64));
    for (std::int64_t i = 0; i < items.back().count(); ++i)
      items.back().data<double>()[i] = 1.0 / static_cast<double>(1 + i + 7 * world.rank() + k);
    reducer.add(items.back(), k % world.size(), core::DType::f64);
  }
  reducer.finish();
  std::vector<double> sums;
  for (int k = 0; k < 6; ++k) {
    if (k % world.size() != world.rank()) continue;
    const core::Tensor& t = items[static_cast<std::size_t>(k)];
    sums.insert(sums.end(), t.data<double>(), t.data<double>() + t.count());
    double first = 0;
    for (int r = 0; r < world.size(); ++r) first += 1.0 / static_cast<double>(1 + 7 * r + k);
    expect(std::abs(t.data<double>()[0] - first) < 1e-12, "the sum");
  }
  return sums;
}

void owners_take_messages(Communicator& world) {
  const std::vector<double> shared = owned_sums(world);
  const NoRoom here;
  expect(owned_sums(world) == shared, "the same bits by messages");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"a shared level is refused on every rank", refused},
                    {"the search leaves shared levels out", search_leaves_shared_levels_out},
                    {"sums onto owners take messages", owners_take_messages}});
}
