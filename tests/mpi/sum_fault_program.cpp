// SPDX-License-Identifier: MIT
// A few sums along a hierarchy, and one rank that does not do as the others. Driven by
// sum_fault.sh.
//   sum_fault_program FAULT RANK LIMIT_SECONDS [token]
// FAULT: none, late (but in time), count (one element more), longer (many more), type (as many
// bytes of another type), fewer (one sum less), more (one sum more), order (two sums exchanged),
// plan, segment, wire, places (another way to sum), absent (begins all sums, and moves none); parts
// (one element more to itself, one less to another), way (gathers what others scatter);
// FAULT+thread: a thread moves the sums on (that of the absent one is stuck)
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/allreduce/schedule_runner.hpp"
#include "comm/progress_thread.hpp"
#include "comm/runtime.hpp"

using namespace isaribi;

namespace {

void pause_seconds(int seconds) {
  timespec rest{seconds, 0};
  while (nanosleep(&rest, &rest) != 0) {
  }
}

int run(comm::Communicator& world, std::string fault, bool culprit, double limit_seconds) {
  std::unique_ptr<comm::ProgressThread> thread;
  if (const auto plus = fault.find("+thread"); plus != std::string::npos) {
    fault.resize(plus);
    thread = std::make_unique<comm::ProgressThread>(world);
  }
  const auto is = [&](const char* name) { return culprit && fault == name; };
  const int ranks = world.size();
  std::vector<comm::HierarchyLevel> levels{{comm::Exchange::direct, 2},
                                           {comm::Exchange::ring, (ranks + 1) / 2}};
  if (is("plan")) levels = {{comm::Exchange::ring, ranks}};
  comm::RankOrder order = comm::RankOrder::flat(ranks);
  if (is("places")) std::swap(order.ranks[0], order.ranks[1]);
  comm::ScheduleOptions options{.segment_bytes = is("segment") ? 400 : 800};
  options.limit_seconds = limit_seconds;
  if (is("wire")) options.wire = core::DType::bf16;
  comm::ScheduleRunner runner(world, order, levels, options);

  std::vector<std::int64_t> counts{1000, 600, 300};
  if (is("count")) ++counts[1];
  if (is("longer")) counts[1] = 5000;
  if (is("fewer")) counts.pop_back();
  if (is("more")) counts.push_back(300);
  if (is("order")) std::swap(counts[1], counts[2]);
  if (is("late")) pause_seconds(1);
  std::vector<comm::Request> requests;
  for (std::size_t s = 0; s < counts.size(); ++s) {
    const core::DType type = is("type") && s == 1 ? core::DType::i32 : core::DType::f32;
    const core::Tensor all = core::Tensor::zeros({counts[s]}, type);
    if (fault != "parts" && fault != "way") {
      const auto start = [&] { return runner.start(all); };
      requests.push_back(thread ? thread->keep_moving(start) : start());
      continue;
    }
    std::vector<std::int64_t> parts(static_cast<std::size_t>(ranks), all.count() / ranks);
    if (is("parts") && s == 1) {
      ++parts[static_cast<std::size_t>(world.rank())];
      --parts[static_cast<std::size_t>((world.rank() + 1) % ranks)];
    }
    const core::Tensor mine =
        core::Tensor::zeros({parts[static_cast<std::size_t>(world.rank())]}, type);
    requests.push_back(is("way") && s == 1 ? runner.start_all_gather_v(mine, parts, all)
                                           : runner.start_reduce_scatter_v(all, parts, mine));
  }
  if (is("absent")) {
    const auto nobody_else = world.sole_caller();
    pause_seconds(60);
  }
  for (comm::Request& request : requests) {
    while (thread && !request.test()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    request.wait();
  }
  world.barrier();
  if (world.is_root()) std::printf("finished\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  comm::Runtime runtime = comm::Runtime::mpi(argc, argv);
  comm::Communicator& world = runtime.world();
  try {
    return run(world, argv[1], world.rank() == std::atoi(argv[2]), std::atof(argv[3]));
  } catch (const comm::CollectiveError& error) {
    if (world.is_root()) std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const core::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    world.abort(error.code());
  }
}
