// SPDX-License-Identifier: MIT
// isaribi selftest: every operation of the backends against the oracle, on the user's own machine.
#include "backends/selftest/selftest.hpp"

#include <fmt/format.h>

#include <memory>

#include "app/job.hpp"
#include "app/verbs/verbs.hpp"

namespace isaribi::app {
namespace {

struct SelftestOptions {
  std::string backend = "all";
  std::string isa;
  int threads = 0;
  selftest::Filter filter;
};

/// Whether `name` passed; false also counts what it says.
bool test_backend(const SelftestOptions& options, const std::string& name, Session& session) {
  train::Config config;
  config.run.threads = options.threads;
  const api::Options how{.threads = threads_of_rank(config, session.comm), .isa = options.isa};
  core::Log silent(1);
  const auto oracle = session.backends.create("reference", how, silent);
  const auto under_test = session.backends.create(name, how, silent);
  session.log.info("\n{}: {}", name, under_test->description());
  session.log.info("{}", selftest::table_header());
  const auto results =
      selftest::run(*under_test, *oracle, options.filter, [&](const selftest::Result& result) {
        session.log.info("{}", selftest::table_line(result));
      });
  session.log.info("{}", selftest::table_summary(results));
  return selftest::failures(results) == 0;
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
               "isaribi selftest\nisaribi selftest --backend simd --op conv");
  verb->add_option("--backend", options->backend,
                   "One backend, usable or not; default: all usable ones");
  verb->add_option("--op", options->filter.op, "Only operations whose name contains this");
  verb->add_option("--isa", options->isa, "Instruction set of the simd backend");
  verb->add_option("--threads", options->threads, "OpenMP threads; default: as train would have");
  verb->add_flag("--with-fallback", options->filter.with_fallback,
                 "Also what the backend leaves to its fallback");
  verb->callback([&chosen, options] {
    chosen = {.verb = "selftest",
              .run = [options](Session& session) { return selftest_verb(*options, session); }};
  });
}

}  // namespace isaribi::app
