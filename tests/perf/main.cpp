// SPDX-License-Identifier: MIT
// isaribi_perf BACKEND [FOLDER]: the working half of tests/perf/bench. It prepares and times cases
// on request, so that the driver can take turns with a peer. One request per line, one JSON line
// each in reply (from the first rank):
//   info                     cpu, backend, threads and the peaks of the machine
//   case NAME key=value..    {"flops", "bytes", "bound", ..}: the bound is the least time in
//   seconds, of
//                            `step` the sum over its operations
//   run SECONDS              {"seconds", "gflops"}: per call, repeated for at least SECONDS, and
//                            the FMA peak just before and after it (0 if `info` was never asked)
//   repeat CALLS             {"resident_kb", "peak_kb"}: memory after so many calls
//   convs PRESET EXTENT CHANNELS   its distinct convolutions
//   profile STEPS            seconds, bytes and bound of each operation and layer of the last step
// With FOLDER it is one rank of an MPI job: rank r reads FOLDER/r, a pipe, so that ranks sleep
// between requests instead of spinning in a collective call.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "backends/api/registry.hpp"
#include "backends/kokkos/register.hpp"
#include "backends/reference/register.hpp"
#include "backends/selftest/bench_cases.hpp"
#include "backends/selftest/machine.hpp"
#include "backends/simd/register.hpp"
#include "comm/runtime.hpp"
#include "core/error.hpp"
#include "core/timer.hpp"
#include "meter.hpp"
#include "step.hpp"

namespace isaribi::perf {
namespace {

using selftest::Arguments;
using selftest::Case;

Arguments read_arguments(std::istringstream& line) {
  std::map<std::string, std::string> values;
  for (std::string word; line >> word;) {
    const auto equals = word.find('=');
    if (equals != std::string::npos) values[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return Arguments(values);
}

/// "VmHWM" (peak resident) or "VmRSS" (resident now), KiB.
long memory_kb(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key + ":")) return std::atol(line.c_str() + key.size() + 1);
  }
  return 0;
}

class Server {
 public:
  Server(api::Registry& registry, api::Backend& backend, comm::Communicator& comm)
      : registry_(registry), backend_(backend), comm_(comm) {}

  void serve(std::istream& in) {
    for (std::string text; std::getline(in, text);) {
      std::istringstream line(text);
      const std::string reply = answer(line);
      if (comm_.rank() != 0) continue;
      std::printf("%s\n", reply.c_str());
      std::fflush(stdout);
    }
  }

 private:
  std::string answer(std::istringstream& line) {
    std::string request, word;
    line >> request;
    if (request == "info") return info();
    if (request == "case") {
      line >> word;
      return prepare(word, read_arguments(line));
    }
    double number = 1;
    if (request == "run") {
      line >> number;
      const double before = peak_now();
      const double seconds = time_case(number);
      return text("{\"seconds\": %.9g, \"gflops\": %.6g}", seconds, (before + peak_now()) / 2);
    }
    if (request == "repeat") {
      line >> number;
      for (double i = 0; i < number; ++i) current_.run();
      return text("{\"resident_kb\": %.0f, \"peak_kb\": %.0f}",
                  static_cast<double>(memory_kb("VmRSS")), static_cast<double>(memory_kb("VmHWM")));
    }
    if (request == "convs") {
      std::int64_t extent = 0, channels = 0;
      line >> word >> extent >> channels;
      return "{\"convs\": " + convolutions_json(word, extent, channels, backend_) + "}";
    }
    if (request == "profile") {
      line >> number;
      return profile(static_cast<int>(number));
    }
    throw core::UsageError("request \"" + request + "\" is not known");
  }

  template <class... Values>
  static std::string text(const char* format, Values... values) {
    char line[512];
    std::snprintf(line, sizeof line, format, values...);
    return line;
  }

  /// Measured once, before anything else runs in this process.
  selftest::Machine& machine() {
    constexpr double kSeconds = 2.5;
    if (!machine_) {
      const char* isa = std::getenv("ISARIBI_ISA");
      machine_.emplace(registry_.probes(), omp_get_max_threads(), isa != nullptr ? isa : "");
      machine_->measure(kSeconds);
    }
    return *machine_;
  }

  double peak_now() const {
    constexpr double kSeconds = 3e-3;
    return machine_ ? machine_->fma_peak_now(kSeconds) : 0;
  }

  std::string info() {
    std::string json = "{\"cpu\": \"" + selftest::cpu_name() + "\", \"backend\": \"" +
                       std::string(backend_.name()) + ": " + backend_.description() + "\"";
    json += text(", \"threads\": %d, \"gflops\": %.2f, \"peaks\": {", omp_get_max_threads(),
                 machine().peak("f32 FMA"));
    std::string list;
    for (const selftest::Peak& p : machine().peaks())
      list +=
          (list.empty() ? "\"" : ", \"") + p.what + " " + p.isa + text("\": %.2f", p.giga_ops.all);
    json += list + "}, \"levels\": [";
    list.clear();
    for (const selftest::MemoryLevel& level : machine().levels())
      list += (list.empty() ? "{\"name\": \"" : ", {\"name\": \"") + level.name +
              text("\", \"capacity\": %.17g, \"gbs\": %.2f}", std::min(level.capacity, 1e30),
                   level.gbs());
    return json + list + "]}";
  }

  std::string prepare(const std::string& name, const Arguments& arguments) {
    current_ = {};  // frees the operands of the last case first
    model_.clear();
    if (name != "step") {
      current_ = selftest::make_case(name, arguments, backend_);
      current_.run();
      const selftest::Bound bound = machine().bound(current_.flops, current_.bytes);
      return text("{\"flops\": %.17g, \"bytes\": %.17g, \"bound\": %.9g, \"binds\": \"%s\"}",
                  current_.flops, current_.bytes, bound.seconds, bound.name.c_str());
    }
    model_ = arguments.text("model");
    batch_ = arguments.integer("n");
    Metered sum;
    if (machine_) {  // `info` was asked: the driver wants shares
      Meter meter(backend_, &machine());
      Step counted(model_, batch_, meter.backend(), comm_);
      meter.reset();  // what setting up has cost
      counted.run();
      sum = meter.total();
    }
    const auto step = std::make_shared<Step>(model_, batch_, backend_, comm_);
    step->run();
    current_.run = [step] { step->run(); };
    return text("{\"flops\": %.17g, \"bytes\": %.17g, \"bound\": %.9g}", sum.flops, sum.bytes,
                sum.bound);
  }

  /// All ranks make as many calls as the first one finds right.
  double time_case(double seconds) {
    if (comm_.size() == 1) return time_alone(seconds);
    const double guess = core::now_seconds();
    current_.run();
    std::int64_t calls[] = {static_cast<std::int64_t>(seconds / (core::now_seconds() - guess)) + 1};
    comm_.all_reduce(calls, comm::ReduceOp::max);
    const double start = core::now_seconds();
    for (std::int64_t i = 0; i < calls[0]; ++i) current_.run();
    comm_.barrier();
    return (core::now_seconds() - start) / static_cast<double>(calls[0]);
  }

  double time_alone(double seconds) {
    int calls = 0;
    const double start = core::now_seconds();
    double now = start;
    do {
      current_.run();
      backend_.synchronize();
      ++calls;
      now = core::now_seconds();
    } while (now - start < seconds);
    return (now - start) / calls;
  }

  std::string profile(int steps) {
    if (model_.empty()) throw core::UsageError("profile: no step was prepared");
    Meter meter(backend_, &machine());
    Step metered(model_, batch_, meter.backend(), comm_);
    metered.run();
    meter.reset();
    for (int i = 0; i < steps; ++i) metered.run();
    std::string json = "{\"operations\": {", list;
    for (const auto& [op, m] : meter.by_operation())
      list += (list.empty() ? "\"" : ", \"") + op +
              text(
                  "\": {\"calls\": %.0f, \"seconds\": %.9g, \"flops\": %.9g, \"bytes\": %.9g, "
                  "\"bound\": %.9g}",
                  static_cast<double>(m.calls) / steps, m.seconds / steps, m.flops / steps,
                  m.bytes / steps, m.bound / steps);
    json += list + "}, \"layers\": {";
    list.clear();
    for (const auto& [name, seconds] : Step(model_, batch_, backend_, comm_).profile_layers(steps))
      list += (list.empty() ? "\"" : ", \"") + name + text("\": %.9g", seconds);
    return json + list + "}}";
  }

  api::Registry& registry_;
  api::Backend& backend_;
  comm::Communicator& comm_;
  std::optional<selftest::Machine> machine_;
  Case current_;
  std::string model_;
  std::int64_t batch_ = 0;
};

}  // namespace
}  // namespace isaribi::perf

int main(int argc, char** argv) {
  using namespace isaribi;
  try {
    const std::string name = argc > 1 ? argv[1] : "auto", folder = argc > 2 ? argv[2] : "";
    comm::Runtime runtime =
        folder.empty() ? comm::Runtime::serial() : comm::Runtime::mpi(argc, argv);
    core::Log log(1);  // silent: standard output belongs to the replies
    api::Registry registry;
    reference::register_backend(registry);
    kokkos::register_backend(registry);
    simd::register_backend(registry);
    api::Options options;
    options.threads = omp_get_max_threads();
    const auto backend = registry.create(name, options, log);
    perf::Server server(registry, *backend, runtime.world());
    if (folder.empty()) {
      server.serve(std::cin);
    } else {
      std::ifstream pipe(folder + "/" + std::to_string(runtime.world().rank()));
      server.serve(pipe);
    }
    return 0;
  } catch (const core::Error& error) {
    std::fprintf(stderr, "isaribi_perf: %s\n  %s\n", error.cause().c_str(), error.hint().c_str());
    return static_cast<int>(error.code());
  }
}
