// SPDX-License-Identifier: MIT
// isaribi_perf BACKEND: the working half of tests/perf/bench. It prepares and times cases on
// request, so that the driver can take turns with a peer. Requests on standard input, one JSON line
// each in reply:
//   info                   {"cpu", "backend", "threads", "gflops", "gbs"}
//   case NAME key=value..  {"flops", "bytes"}
//   run SECONDS            {"seconds"}: per call, repeated for at least SECONDS
//   profile STEPS          seconds per layer of the step of the last `case step`
#include <omp.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "backends/api/registry.hpp"
#include "backends/kokkos/register.hpp"
#include "backends/reference/register.hpp"
#include "backends/simd/register.hpp"
#include "cases.hpp"
#include "core/error.hpp"
#include "core/timer.hpp"
#include "machine.hpp"
#include "step.hpp"

namespace isaribi::perf {
namespace {

double time_case(const Case& c, api::Backend& backend, double seconds) {
  int calls = 0;
  const double start = core::now_seconds();
  double now = start;
  do {
    c.run();
    backend.synchronize();
    ++calls;
    now = core::now_seconds();
  } while (now - start < seconds);
  return (now - start) / calls;
}

std::map<std::string, std::string> read_arguments(std::istringstream& line) {
  std::map<std::string, std::string> values;
  for (std::string word; line >> word;) {
    const auto equals = word.find('=');
    if (equals != std::string::npos) values[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return values;
}

void serve(api::Backend& backend) {
  Case current;
  Arguments arguments({});
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    std::string request;
    line >> request;
    if (request == "info") {
      std::printf(
          "{\"cpu\": \"%s\", \"backend\": \"%s: %s\", \"threads\": %d, \"gflops\": %.1f, \"gbs\": "
          "%.1f}\n",
          cpu_name().c_str(), std::string(backend.name()).c_str(), backend.description().c_str(),
          omp_get_max_threads(), fma_gflops(), memory_gbs());
    } else if (request == "case") {
      std::string name;
      line >> name;
      current = {};  // frees the operands of the last case first
      arguments = Arguments(read_arguments(line));
      current = make_case(name, arguments, backend);
      current.run();
      std::printf("{\"flops\": %.17g, \"bytes\": %.17g}\n", current.flops, current.bytes);
    } else if (request == "run") {
      double seconds = 0.1;
      line >> seconds;
      std::printf("{\"seconds\": %.9g}\n", time_case(current, backend, seconds));
    } else if (request == "profile") {
      int steps = 5;
      line >> steps;
      Step(arguments.text("model"), arguments.integer("n"), backend).profile(steps);
      std::printf("{}\n");
    } else {
      throw core::UsageError("request \"" + request + "\" is not known");
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace isaribi::perf

int main(int argc, char** argv) {
  using namespace isaribi;
  try {
    core::Log log(1);  // silent: standard output belongs to the replies
    api::Registry registry;
    reference::register_backend(registry);
    kokkos::register_backend(registry);
    simd::register_backend(registry);
    api::Options options;
    options.threads = omp_get_max_threads();
    const auto backend = registry.create(argc > 1 ? argv[1] : "auto", options, log);
    perf::serve(*backend);
    return 0;
  } catch (const core::Error& error) {
    std::fprintf(stderr, "isaribi_perf: %s\n  %s\n", error.cause().c_str(), error.hint().c_str());
    return static_cast<int>(error.code());
  }
}
