// SPDX-License-Identifier: MIT
// isaribi allreduce: measures and models the ways to sum a buffer over the ranks of this job,
// beside the library's own and the physical bound, and keeps the best for training.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "app/allreduce_files.hpp"
#include "app/machine_file.hpp"
#include "app/reduction.hpp"
#include "app/verbs/allreduce_one_way.hpp"
#include "app/verbs/allreduce_overlap.hpp"
#include "app/verbs/allreduce_tables.hpp"
#include "app/verbs/verbs.hpp"
#include "comm/agreement.hpp"
#include "comm/allreduce/containment.hpp"
#include "comm/allreduce/rack_measurement.hpp"
#include "comm/allreduce/sums.hpp"
#include "comm/allreduce/tuned_plan.hpp"

namespace isaribi::app {
namespace {

struct AllReduceCommand {
  std::string sizes = "64K:16M", type = "f32", wire, topology, output = "allreduce.json", csv,
              figure, overlap, save_topology, collective = "all_reduce", progress = "auto";
  std::vector<std::string> plans;
  double budget = 60;
  int window = 2, layers = 161;
  bool exhaustive = false, check = false, same_bits = false, containment = false;
};

/// "64K:1G": every fourth power of two; "64K:1G:2": every one; or a list "1M,16M".
std::vector<std::int64_t> parse_sizes(const std::string& text) {
  std::vector<std::string> parts(1);
  const bool range = text.find(':') != std::string::npos;
  for (const char c : text) {
    if (c == (range ? ':' : ',')) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  std::vector<std::int64_t> sizes;
  if (!range) {
    for (const std::string& part : parts) sizes.push_back(comm::parse_bytes(part));
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    return sizes;
  }
  const std::int64_t last = comm::parse_bytes(parts[1]);
  const std::int64_t factor = parts.size() > 2 ? comm::parse_bytes(parts[2]) : 4;
  if (parts.size() > 3 || factor < 2 || last < comm::parse_bytes(parts[0]))
    throw core::UsageError("--sizes " + text + " is no range", "such as 64K:1G, or 64K:1G:2");
  sizes.push_back(comm::parse_bytes(parts[0]));
  while (sizes.back() <= last / factor) sizes.push_back(sizes.back() * factor);
  return sizes;
}

/// Before minutes of measuring, not after them. @throws core::DataError
void check_folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (path.empty() || folder.empty() || std::filesystem::is_directory(folder, ignored)) return;
  throw core::DataError(path, "cannot be written",
                        "nothing was measured; name a file in a folder that exists");
}

/// Sums small integers, exact in every type that travels, along each plan; which plans are wrong.
std::vector<std::string> wrong_plans(comm::Communicator& comm, const comm::Topology& topology,
                                     const std::vector<comm::PlanResult>& results, core::DType type,
                                     std::optional<core::DType> wire, int window) {
  std::vector<std::string> wrong;
  const auto fill = [&](const core::Tensor& x, auto zero, bool expected) {
    using T = decltype(zero);
    std::int64_t differ = 0;
    for (std::int64_t i = 0; i < x.count(); ++i) {
      const auto part = [&](int r) { return static_cast<T>((i * 7 + r * 3) % 4); };
      if (!expected) {
        x.data<T>()[i] = part(comm.rank());
        continue;
      }
      T sum{};
      for (int r = 0; r < comm.size(); ++r) sum = static_cast<T>(sum + part(r));
      differ += x.data<T>()[i] == sum ? 0 : 1;
    }
    return differ;
  };
  const auto both = [&](const core::Tensor& x, bool expected) {
    return type == core::DType::f64   ? fill(x, double{}, expected)
           : type == core::DType::f32 ? fill(x, float{}, expected)
                                      : fill(x, std::int32_t{}, expected);
  };
  for (const comm::PlanResult& result : results) {
    const auto width = static_cast<std::int64_t>(core::size_of(type));
    const core::Tensor x({result.bytes / width}, type);
    both(x, false);
    if (result.plan.library()) {
      comm.all_reduce(x, comm::ReduceOp::sum);
    } else {
      comm::make_runner(comm, topology, result.plan, wire, window)->start(x).wait();
    }
    if (comm.all_reduce(both(x, true), comm::ReduceOp::sum) > 0)
      wrong.push_back(result.plan.text() + " at " + comm::bytes_to_text(result.bytes));
  }
  return wrong;
}

std::map<std::string, std::string> measured_racks(const AllReduceCommand& command,
                                                  Session& session) {
  const comm::RackMeasurement racks = comm::measure_racks(session.comm);
  session.log.info("racks by measurement ({:.1f} s): {}", racks.seconds, racks.description());
  comm::run_on_root(session.comm, [&] {
    if (!command.save_topology.empty()) write_racks(racks.rack_of_host(), command.save_topology);
  });
  return racks.rack_of_host();
}

core::ExitCode allreduce_verb(const AllReduceCommand& command, Session& session) {
  comm::Communicator& comm = session.comm;
  core::Log& log = session.log;
  comm::TunerOptions options;
  MachineFile machine;
  std::int64_t overlap_bytes = 0;
  comm::Collective collective{};
  comm::run_together(comm, [&] {
    collective = parse_collective(command.collective);
    const bool one_way = collective != comm::Collective::all_reduce;
    if (one_way && (!command.figure.empty() || !command.overlap.empty() || command.containment))
      throw core::UsageError(
          "--figure, --overlap and --containment belong to --collective all_reduce",
          "--csv holds the measurements of any collective");
    options.sizes = parse_sizes(command.sizes);
    options.type = core::parse_dtype(command.type);
    if (!command.wire.empty()) options.wire = core::parse_dtype(command.wire);
    comm::sum_kernels(options.type, options.wire.value_or(options.type));  // refuses other pairs
    for (const std::string& plan : command.plans) options.plans.push_back(comm::parse_plan(plan));
    if (command.topology != kMeasure) machine = read_machine_file(command.topology);
    if (!command.save_topology.empty() && command.topology != kMeasure)
      throw core::UsageError("--save-topology saves racks that were measured",
                             "add --topology measure");
    if (command.containment && !options.plans.empty())
      throw core::UsageError("--containment looks for the fastest plans: it goes with no --plan",
                             "leave out --plan, or --containment");
    if (!command.overlap.empty()) overlap_bytes = comm::parse_bytes(command.overlap);
  });
  comm::run_on_root(comm, [&] {
    for (const std::string& path :
         {command.output, command.csv, command.figure, command.save_topology})
      check_folder_of(path);
  });
  if (!command.overlap.empty()) check_progress(comm, command.progress);
  options.budget_seconds = command.budget;
  options.exhaustive = command.exhaustive;
  options.same_bits = command.same_bits;
  options.window = command.window;
  if (command.topology == kMeasure) machine.rack_of_host = measured_racks(command, session);
  const comm::Topology topology = comm::discover_topology(comm, machine.rack_of_host);
  log.info("{}", topology.description());
  for (const comm::PlanChoice& plan : options.plans) comm::check_plan(topology, plan, options.wire);
  if (collective != comm::Collective::all_reduce) {
    const comm::TunerReport report =
        measure_one_way(comm, topology, machine, options, collective, command.check, log);
    comm::run_on_root(comm, [&] {
      if (!command.csv.empty()) write_allreduce_csv(report, comm.size(), {}, command.csv);
    });
    return core::ExitCode::ok;
  }
  const comm::TunerReport report = comm::tune(comm, topology, options);
  print_tables(report, topology, machine, command.exhaustive, log);
  comm::ContainmentReport containment;
  if (command.containment) {
    containment = comm::measure_containment(comm, topology, report, options, machine.rack_of_host);
    print_containment(containment, comm.size(), log);
  }
  if (!command.overlap.empty() && comm.size() > 1) {
    auto plan = std::make_unique<comm::TunedPlan>(comm, topology, report.tuning, options.wire);
    const MovingPlan moving = move_on(comm, std::move(plan), command.progress, log);
    measure_overlap(comm, *moving.plan, moving.thread.get(), overlap_bytes, command.layers, log);
  }
  if (command.check) {
    const auto wrong =
        wrong_plans(comm, topology, report.results, options.type, options.wire, options.window);
    for (const std::string& plan : wrong) log.warn("wrong sums: {}", plan);
    if (!wrong.empty())
      throw comm::CollectiveError(
          core::ExitCode::numerical,
          fmt::format("{} of {} sums are wrong", wrong.size(), report.results.size()),
          "keep to the plans that are right, and report the table");
    log.info("{} sums checked with exact integers: all right", report.results.size());
  }
  comm::run_on_root(comm, [&] {
    if (!command.output.empty()) write_tuning(report.tuning, command.output);
    if (!command.csv.empty()) write_allreduce_csv(report, comm.size(), containment, command.csv);
    if (!command.figure.empty()) draw_allreduce(report, command.figure);
  });
  if (!command.output.empty())
    log.info("written: {} (train: comm/allreduce=auto comm/tuning={})", command.output,
             command.output);
  return core::ExitCode::ok;
}

}  // namespace

void add_allreduce(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<AllReduceCommand>();
  CLI::App* verb = add_verb(
      app, "allreduce", "Measures and models the ways to sum gradients over the ranks of this job",
      "mpirun -np 8 isaribi allreduce\n"
      "srun isaribi allreduce --sizes 64K:1G --wire bf16 --check --topology machine.toml\n"
      "mpirun -np 8 isaribi allreduce --sizes 16M --plan direct2-ring4/1M --plan ring8");
  verb->add_option("--sizes", options->sizes,
                   "Bytes per rank: from:to (by fours), from:to:factor, or a list 1M,16M");
  verb->add_option(
      "--plan", options->plans,
      "Only this plan, and the library; may be given several times: levels innermost "
      "first, ring, direct, shared, mpi or nccl with the number of members, then the bytes of a "
      "segment: direct2-ring4/1M");
  verb->add_option("--collective", options->collective,
                   "all_reduce (default); reduce_scatter or all_gather: named plans one way only, "
                   "beside MPI_Ireduce_scatter or MPI_Iallgatherv; leaves no tuning file");
  verb->add_flag("--exhaustive", options->exhaustive, "Measure every plan, not the promising ones");
  const std::map<std::string, double> units{{"s", 1}, {"min", 60}, {"h", 3600}};
  verb->add_option("--budget", options->budget,
                   "Time for measuring, about: seconds, or with s, min or h (default: 60s)")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_OPTIONAL, "TIME"))
      ->check([](const std::string& seconds) {
        return std::stod(seconds) > 0 ? "" : seconds + " is no time to measure in";
      });
  verb->add_option("--type", options->type, "Elements: f32 (default), f64, i32");
  verb->add_option("--wire", options->wire,
                   "Elements between nodes (between ranks on one node): f32, bf16, f16");
  verb->add_flag("--same-bits", options->same_bits,
                 "Only plans that all add in the same order, by one binary tree over ranks");
  verb->add_option("--window", options->window, "Segments in one stage at once")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--check", options->check, "Also check every plan with exact integers");
  verb->add_option(
      "--overlap", options->overlap,
      "Then also: how much of a sum of this many bytes, in buckets of 4M by the chosen "
      "plans, computation hides");
  verb->add_option("--layers", options->layers,
                   "With --overlap: parts of the computation (default: 161, as ResNet-50)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--progress", options->progress,
                   "With --overlap: who moves sums on while ranks compute: thread, calls (of the "
                   "main thread, between layers), or auto (default: as training chooses)")
      ->check(CLI::IsMember({"auto", "thread", "calls"}));
  verb->add_flag("--containment", options->containment,
                 "Then also: whether the fastest hierarchies, cut down to a half and a quarter of "
                 "the nodes, are among the fastest there");
  verb->add_option("--topology", options->topology,
                   "Machine file: racks of hosts, rates of links; measure: find racks by pairs of "
                   "nodes that talk at once")
      ->envname("ISARIBI_TOPOLOGY");
  verb->add_option("--save-topology", options->save_topology,
                   "With --topology measure: machine file of the racks found");
  verb->add_option("--output", options->output,
                   "Tuning file for train (default: allreduce.json; empty: none)");
  verb->add_option("--csv", options->csv, "All measurements as a table");
  verb->add_option("--figure", options->figure, "Heat map of plans and sizes (PNG)");
  verb->footer(verb->get_footer() + "\n" + kMachineFileExample);
  verb->callback([&chosen, options] {
    chosen = {.verb = "allreduce", .parallel = true, .run = [options](Session& session) {
                return allreduce_verb(*options, session);
              }};
  });
}

}  // namespace isaribi::app
