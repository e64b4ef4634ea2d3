// SPDX-License-Identifier: MIT
// Sums that a thread moves on while the main thread computes, communicates elsewhere, or starts
// more of them: along hierarchies, of the library and in rank order, the same bits as by calls.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/allreduce/schedule_runner.hpp"
#include "comm/bucket_reducer.hpp"
#include "comm/progress_thread.hpp"
#include "core/timer.hpp"
#include "harness.hpp"
#include "runner_plan.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::AllReducePlan;
using comm::Communicator;
using comm::Exchange;

namespace {

std::unique_ptr<AllReducePlan> make_plan(Communicator& world, const std::string& key) {
  if (key != "hierarchy") return comm::make_allreduce_plan(key, world);
  if (world.size() == 1) return comm::make_allreduce_plan("mpi", world);
  const std::vector<comm::HierarchyLevel> levels{{Exchange::direct, 2},
                                                 {Exchange::ring, (world.size() + 1) / 2}};
  return std::make_unique<RunnerPlan>(world, levels, comm::ScheduleOptions{.segment_bytes = 2000});
}

void fill(const core::Tensor& t, int rank, int step) {
  for (std::int64_t i = 0; i < t.count(); ++i)
    t.data<float>()[i] = 1.0F / static_cast<float>(1 + (i * 13 + rank * 5 + step) % 101);
}

/// Steps of a backward pass in layers; the main thread communicates between some of them.
std::vector<float> train(Communicator& world, AllReducePlan& plan, bool busy) {
  const core::Tensor flat({20011}, core::DType::f32);
  comm::BucketReducer reducer(world, plan, flat, 8192);
  std::vector<float> seen;
  for (int step = 0; step < 4; ++step) {
    fill(flat, world.rank(), step);
    for (int layer = 0; layer < 10; ++layer) {
      reducer.ready(flat.count() * layer / 10, flat.count() * (layer + 1) / 10);
      if (busy && layer % 3 == 0) {
        const std::int64_t ranks = world.all_reduce(std::int64_t{1}, comm::ReduceOp::sum);
        expect_equal(ranks, world.size(), "a reduction between two layers");
      }
      if (busy) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    reducer.finish();
    seen.insert(seen.end(), flat.data<float>(), flat.data<float>() + flat.count());
  }
  return seen;
}

void same_bits_as_by_calls(Communicator& world) {
  for (const std::string key : {"hierarchy", "mpi", "rank_order"}) {
    const auto by_calls = make_plan(world, key);
    const std::vector<float> expected = train(world, *by_calls, false);
    auto thread = std::make_shared<comm::ProgressThread>(world);
    const auto moved = comm::keep_moving(make_plan(world, key), thread);
    expect_equal(moved->name(), by_calls->name());
    for (int round = 0; round < 3; ++round)
      expect(train(world, *moved, true) == expected, "the same bits by " + key);
  }
}

/// Nobody calls: only the thread can have completed it.
void completes_while_nobody_calls(Communicator& world) {
  if (world.size() == 1) return;
  auto thread = std::make_shared<comm::ProgressThread>(world);
  for (const std::string key : {"hierarchy", "mpi"}) {
    const auto plan = comm::keep_moving(make_plan(world, key), thread);
    const core::Tensor x({50000}, core::DType::f32);
    std::fill_n(x.data<float>(), x.count(), 1.0F);
    comm::Request request = plan->start(x);
    const double start = core::now_seconds();
    while (!request.test() && core::now_seconds() - start < 30)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    expect(request.complete(), key + " moves on by itself");
    expect_equal(x.data<float>()[49999], static_cast<float>(world.size()));
  }
}

void groups_are_made_while_sums_move(Communicator& world) {
  auto thread = std::make_shared<comm::ProgressThread>(world);
  const auto plan = comm::keep_moving(make_plan(world, "hierarchy"), thread);
  const core::Tensor x({300000}, core::DType::f32);
  for (int round = 0; round < 5; ++round) {
    std::fill_n(x.data<float>(), x.count(), 2.0F);
    comm::Request request = plan->start(x);
    const auto node = world.split_node();
    const auto window = node->make_shared_window(64);
    window->fence();
    world.barrier();
    expect_equal(world.broadcast_string("deck"), std::string("deck"));
    request.wait();
    expect_equal(x.data<float>()[299999], 2.0F * static_cast<float>(world.size()));
  }
}

/// A library that allows calls of the main thread only.
void refuses(Communicator& world) {
  std::string cause;
  try {
    const comm::ProgressThread thread(world);
  } catch (const core::CommError& error) {
    cause = error.cause();
    expect_in("comm/progress=calls", error.hint());
  }
  expect_in("calls of the main thread only", cause);
  const auto plan = make_plan(world, "hierarchy");
  train(world, *plan, true);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--one-thread")
    return run_cases(argc, argv, {{"no thread is no error of sums", refuses}});
  return run_cases(argc, argv,
                   {{"the same bits as by calls", same_bits_as_by_calls},
                    {"sums complete while nobody calls", completes_while_nobody_calls},
                    {"groups are made while sums move", groups_are_made_while_sums_move}});
}
