// SPDX-License-Identifier: MIT
// The group of one rank without MPI: what every verb that needs no launcher stands on.
#include <algorithm>
#include <numeric>

#include "catch.hpp"
#include "comm/agreement.hpp"
#include "comm/bucket_reducer.hpp"
#include "comm/runtime.hpp"
#include "comm/watchdog.hpp"
#include "core/timer.hpp"

using namespace isaribi;

TEST_CASE("a serial group answers for itself") {
  comm::Runtime runtime = comm::Runtime::serial();
  comm::Communicator& world = runtime.world();
  CHECK_FALSE(runtime.uses_mpi());
  CHECK(world.size() == 1);
  CHECK(world.is_root());
  CHECK_FALSE(world.host().empty());
  CHECK(world.native_handle() == nullptr);
  CHECK(world.all_reduce(7.5, comm::ReduceOp::sum) == 7.5);
  CHECK(world.broadcast_string("deck") == "deck");
  CHECK(world.all_gather_strings("x") == std::vector<std::string>{"x"});
  CHECK(world.split_node()->make_shared_window(100)->bytes() == 100);
  CHECK(comm::agree_on_reason(world, "USR1") == "USR1");
  CHECK_NOTHROW(comm::check_agreement(world, {{"deck", "1"}}));
}

TEST_CASE("vector collectives of one rank copy, or leave in place") {
  comm::Runtime runtime = comm::Runtime::serial();
  comm::Communicator& world = runtime.world();
  const core::Tensor all({5}, core::DType::f32), mine({5}, core::DType::f32);
  std::iota(all.data<float>(), all.data<float>() + 5, 1.0f);
  const std::vector<std::int64_t> counts = {5};
  world.reduce_scatter_v(all, counts, mine);
  CHECK(mine.data<float>()[4] == 5.0f);
  mine.data<float>()[0] = 9.0f;
  world.all_gather_v(mine, counts, all);
  CHECK(all.data<float>()[0] == 9.0f);
  world.start_reduce_scatter_v(all, counts, all).wait();
  CHECK(all.data<float>()[4] == 5.0f);
  CHECK(world.traffic().reduce_scatter == 40);
  CHECK(world.traffic().on_wire(1) == 0.0);
  CHECK_THROWS_AS(world.all_gather_v(mine, std::vector<std::int64_t>{4}, all), core::InternalError);
}

TEST_CASE("the MPI library is named without starting MPI") {
  CHECK_FALSE(comm::Runtime::library_version().empty());
}

TEST_CASE("gradients of one rank stay as they are") {
  comm::Runtime runtime = comm::Runtime::serial();
  const auto plan = comm::make_allreduce_plan("mpi", runtime.world());
  const core::Tensor flat({10}, core::DType::f32);
  std::iota(flat.data<float>(), flat.data<float>() + 10, 0.0f);
  comm::BucketReducer reducer(runtime.world(), *plan, flat, 8);
  reducer.ready(0, 10);
  reducer.finish();
  CHECK(flat.data<float>()[9] == 9.0f);
  CHECK(reducer.stats().bytes == 0);
}

TEST_CASE("a watchdog starts, hears, and stops in time") {
  comm::Runtime runtime = comm::Runtime::serial();
  core::PhaseTimers timers;
  const double start = core::now_seconds();
  {
    comm::Watchdog watchdog(runtime.world(), timers);
    for (int step = 0; step < 1000; ++step) {
      watchdog.set_step(step);
      const auto outer = timers.phase("forward");
      const auto inner = timers.phase("forward/conv1");
      watchdog.beat();
    }
  }
  const auto after = timers.phase("a phase after the watchdog is gone");
  CHECK(core::now_seconds() - start < 5);
}
