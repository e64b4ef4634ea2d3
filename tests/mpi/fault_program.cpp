// SPDX-License-Identifier: MIT
// A small training loop without the training: phases, an all_reduce per step, watchdog and stop
// requests, and one rank that misbehaves as told. Driven by fault.sh.
//   fault_program FAULT RANK HANG_SECONDS [token]
// FAULT: none, kill, stop (SIGSTOP), hang (endless loop), throw, exit, quiet (one rank busy, with
// signs of life only), desync (another deck), collective (an error that reaches all), usr1 (waits
// for the signal)
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "app/stop_requests.hpp"
#include "comm/agreement.hpp"
#include "comm/runtime.hpp"
#include "comm/watchdog.hpp"

using namespace isaribi;

namespace {

constexpr int kSteps = 40, kFaultStep = 7;

void pause_seconds(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  timespec rest{whole, static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
  while (nanosleep(&rest, &rest) != 0) {
  }
}

void misbehave(const std::string& fault, double hang_seconds, comm::Watchdog& watchdog) {
  if (fault == "kill") raise(SIGKILL);
  if (fault == "stop") raise(SIGSTOP);
  if (fault == "throw") throw core::NumericalError("loss is not a number");
  if (fault == "exit") _exit(0);
  for (volatile bool forever = true; fault == "hang" && forever;) {
  }
  for (double t = 0; fault == "quiet" && t < 2.5 * hang_seconds; t += 0.1) {
    pause_seconds(0.1);
    watchdog.beat();
  }
}

int run(comm::Communicator& world, const std::string& fault, int culprit, double hang_seconds) {
  app::StopRequests stop;
  core::PhaseTimers timers;
  comm::WatchdogOptions options;
  options.hang_seconds = hang_seconds;
  comm::Watchdog watchdog(world, timers, options);
  comm::check_agreement(world,
                        {{"deck", fault == "desync" && world.rank() == culprit ? "bbb" : "aaa"}});
  comm::run_together(world, [&] {
    if (fault == "collective" && world.rank() == culprit)
      throw core::DataError("train.h5", "damaged");
  });
  if (world.is_root()) std::puts("watching");
  std::fflush(stdout);
  for (int step = 0; step < (fault == "usr1" ? 100 * kSteps : kSteps); ++step) {
    watchdog.set_step(step);
    {
      const auto outer = timers.phase("backward");
      const auto inner = timers.phase("backward/conv2");
      pause_seconds(0.005);
      if (step == kFaultStep && world.rank() == culprit) misbehave(fault, hang_seconds, watchdog);
    }
    const auto reduce = timers.phase("reduce");
    const std::string why = comm::agree_on_reason(world, stop.reason());
    if (!why.empty()) {
      if (world.is_root()) std::printf("stopped at step %d: %s\n", step, why.c_str());
      return static_cast<int>(core::ExitCode::resubmit);
    }
  }
  if (world.is_root()) std::printf("finished\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string fault = argv[1];
  const int culprit = std::atoi(argv[2]);
  const double hang_seconds = std::atof(argv[3]);
  comm::Runtime runtime = comm::Runtime::mpi(argc, argv);
  try {
    return run(runtime.world(), fault, culprit, hang_seconds);
  } catch (const comm::CollectiveError& error) {
    if (runtime.world().is_root()) std::fprintf(stderr, "error: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const core::Error& error) {
    std::fprintf(stderr, "error: rank %d: %s\n", runtime.world().rank(), error.what());
    runtime.world().abort(error.code());
  }
}
