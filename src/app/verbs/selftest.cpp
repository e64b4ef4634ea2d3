// SPDX-License-Identifier: MIT
// isaribi selftest: every operation of the backends against the oracle, on the user's own machine;
// with --perf, how fast the machine and a backend on it are.
#include "backends/selftest/selftest.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "app/job.hpp"
#include "app/verbs/verbs.hpp"
#include "backends/selftest/speed.hpp"

namespace isaribi::app {
namespace {

struct SelftestOptions {
  std::string backend = "all";
  std::string isa;
  int threads = 0;
  selftest::Filter filter;
  bool perf = false;
  double seconds = 17;
  std::string csv;
};

api::Options how(const SelftestOptions& options, Session& session) {
  train::Config config;
  config.run.threads = options.threads;
  return {.threads = threads_of_rank(config, session.comm), .isa = options.isa};
}

/// Whether `name` passed; false also counts what it says.
bool test_backend(const SelftestOptions& options, const std::string& name, Session& session) {
  core::Log silent(1);
  const auto oracle = session.backends.create("reference", how(options, session), silent);
  const auto under_test = session.backends.create(name, how(options, session), silent);
  session.log.info("\n{}: {}", name, under_test->description());
  session.log.info("{}", selftest::table_header());
  const auto results =
      selftest::run(*under_test, *oracle, options.filter, [&](const selftest::Result& result) {
        session.log.info("{}", selftest::table_line(result));
      });
  session.log.info("{}", selftest::table_summary(results));
  return selftest::failures(results) == 0;
}

/// The instruction set that --isa or ISARIBI_ISA forces, or nothing.
std::string forced_isa(const SelftestOptions& options) {
  const char* environment = std::getenv("ISARIBI_ISA");
  return !options.isa.empty() || environment == nullptr ? options.isa : environment;
}

/// Says that others use this machine now: their share is missing from every time below.
void warn_of_load(core::Log& log) {
  constexpr double kIdle = 0.5;  // of the CPUs
  double load = 0;
  const auto cpus = static_cast<double>(std::thread::hardware_concurrency());
  if (::getloadavg(&load, 1) == 1 && load > kIdle * cpus)
    log.info(
        "note: load average {:.1f} on {:.0f} CPUs: something else is running here, the times of "
        "several threads above all will be too long",
        load, cpus);
}

core::ExitCode perf_verb(const SelftestOptions& options, Session& session) {
  // Parts of the time: the machine before and after the operations, so that a disturbance at one
  // end does not lower the peaks.
  constexpr double kBefore = 0.25, kAfter = 0.1, kOperations = 0.6;
  std::ofstream csv;
  if (!options.csv.empty()) csv.open(options.csv);
  if (!options.csv.empty() && !csv)
    throw core::DataError(options.csv, "cannot be written",
                          "nothing was measured; name a file in "
                          "a folder that exists and may be written to");
  core::Log& log = session.log;
  core::Log silent(1);
  const api::Options as = how(options, session);
  const auto backend =
      session.backends.create(options.backend == "all" ? "auto" : options.backend, as, silent);
  selftest::Machine machine(session.backends.probes(), as.threads, forced_isa(options));
  log.info("{}, {} threads", selftest::cpu_name(), as.threads);
  log.info("backend {}: {}", backend->name(), backend->description());
  warn_of_load(log);
  log.info("measuring for about {:.0f} s; of each rate the best counts\n", options.seconds);
  machine.measure(kBefore * options.seconds);
  const auto speeds = selftest::measure_speed(*backend, kOperations * options.seconds);
  machine.measure(kAfter * options.seconds);
  for (const std::string& line : selftest::machine_table(machine)) log.info("{}", line);
  log.info("");
  for (const std::string& line : selftest::speed_table(speeds, machine, *backend))
    log.info("{}", line);
  if (options.csv.empty()) return core::ExitCode::ok;
  selftest::write_csv(csv, speeds, machine, *backend);
  csv.close();
  if (!csv)
    throw core::DataError(options.csv, "could not be written whole", "is the file system full?");
  return core::ExitCode::ok;
}

core::ExitCode selftest_verb(const SelftestOptions& options, Session& session) {
  std::string failed;
  bool known = options.backend == "all";
  for (const api::Entry& entry : session.backends.entries()) {
    const bool named = options.backend == entry.name;
    if (!named && options.backend != "all") continue;
    known = true;
    const std::string reason = entry.why_unusable();
    if (!reason.empty() && !named) {
      session.log.info("\n{}: {}", entry.name, reason);
    } else if (!test_backend(options, entry.name, session)) {
      failed += (failed.empty() ? "" : ", ") + entry.name;
    }
  }
  if (!known) session.backends.create(options.backend, {}, session.log);  // names those there are
  if (!failed.empty())
    throw core::NumericalError("selftest: failures of backend " + failed + " (see the table)",
                               "do not trust results of it on this machine; use --backend of "
                               "another, and report the table");
  return core::ExitCode::ok;
}

}  // namespace

void add_selftest(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<SelftestOptions>();
  CLI::App* verb =
      add_verb(app, "selftest", "Checks every operation of the backends against the reference",
               "isaribi selftest\nisaribi selftest --backend simd --op conv\n"
               "isaribi selftest --perf --csv perf.csv");
  verb->add_option("--backend", options->backend,
                   "One backend, usable or not; default: all usable ones");
  verb->add_option("--op", options->filter.op, "Only operations whose name contains this");
  verb->add_option("--isa", options->isa, "Instruction set of the simd backend");
  verb->add_option("--threads", options->threads, "OpenMP threads; default: as train would have");
  verb->add_flag("--with-fallback", options->filter.with_fallback,
                 "Also what the backend leaves to its fallback");
  CLI::Option* perf = verb->add_flag(
      "--perf", options->perf,
      "Instead: the peaks of this machine (arithmetic by type, caches, memory) and what the hot "
      "operations of one backend (default: auto) reach of them");
  verb->add_option("--csv", options->csv, "With --perf: the same numbers as a file")->needs(perf);
  verb->add_option("--seconds", options->seconds, "With --perf: how long to measure (default: 17)")
      ->needs(perf)
      ->check(CLI::PositiveNumber);
  verb->callback([&chosen, options] {
    chosen = {.verb = "selftest", .run = [options](Session& session) {
                return options->perf ? perf_verb(*options, session)
                                     : selftest_verb(*options, session);
              }};
  });
}

}  // namespace isaribi::app
