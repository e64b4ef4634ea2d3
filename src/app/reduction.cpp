// SPDX-License-Identifier: MIT
#include "app/reduction.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "app/allreduce_files.hpp"
#include "app/machine_file.hpp"
#include "comm/agreement.hpp"
#include "comm/allreduce/rack_measurement.hpp"
#include "comm/allreduce/tuned_plan.hpp"
#include "core/error.hpp"
#include "optim/optimizer.hpp"

namespace isaribi::app {
namespace {

// Buckets of gradients are of these sizes (comm/bucket_reducer.cpp).
const std::vector<std::int64_t> kBucketSizes = {256 << 10, 1 << 20, 4 << 20};
constexpr double kSeconds = 5;  // of measuring, about

std::string machine_path(const train::Config& config) {
  if (!config.comm.topology.empty()) return config.comm.topology;
  const char* environment = std::getenv("ISARIBI_TOPOLOGY");
  return environment == nullptr ? "" : environment;
}

bool is_tuned(const train::Config& config) {
  return config.comm.allreduce == "auto" || config.comm.allreduce == "deterministic";
}

std::optional<core::DType> wire_of(const train::Config& config) {
  if (config.comm.wire == "same") return std::nullopt;
  return core::parse_dtype(config.comm.wire);
}

/// Whether gradients are summed along levels, as far as the deck asks and there is anybody to sum
/// with.
bool takes_hierarchies(Session& session, const train::Config& config) {
  const auto names = comm::allreduce_plan_names();
  return session.comm.size() > 1 &&
         std::find(names.begin(), names.end(), config.comm.allreduce) == names.end();
}

std::string racks_path(const train::Config& config) {
  return (std::filesystem::path(config.run.dir) / "topology.toml").string();
}

/// Those that an earlier job of this run folder measured, when they are of these hosts: what they
/// are decides the last bits of a restart. Else measured now.
std::map<std::string, std::string> measured_racks(Session& session, const train::Config& config) {
  const std::string own = racks_path(config);
  MachineFile kept;
  comm::run_together(session.comm, [&] {
    if (std::filesystem::exists(own)) kept = read_machine_file(own);
  });
  const bool mine = kept.rack_of_host.count(session.comm.host()) > 0;
  if (session.comm.all_reduce(std::int64_t{mine ? 1 : 0}, comm::ReduceOp::min) == 1)
    return kept.rack_of_host;
  session.log.info("comm/topology=measure: looking for racks");
  const comm::RackMeasurement racks = comm::measure_racks(session.comm);
  session.log.info("racks by measurement ({:.1f} s): {}", racks.seconds, racks.description());
  return racks.rack_of_host();
}

Surroundings surroundings_of(Session& session, const train::Config& config) {
  Surroundings found;
  MachineFile machine;
  const std::string path = machine_path(config);
  if (path == kMeasure) {
    found.measured_racks = measured_racks(session, config);
    machine.rack_of_host = found.measured_racks;
  } else {
    comm::run_together(session.comm, [&] { machine = read_machine_file(path); });
  }
  found.topology = comm::discover_topology(session.comm, machine.rack_of_host);
  return found;
}

/// The tuning of `path` when it was made for this topology, wire and order of sums.
std::optional<comm::Tuning> usable(const std::string& path, const comm::Tuning& wanted,
                                   core::Log& log) {
  comm::Tuning tuning = read_tuning(path);
  const auto differs = [&](const char* what, const std::string& theirs, const std::string& ours) {
    if (theirs == ours) return false;
    log.warn("{} was made for {} \"{}\", this job has \"{}\": measuring again", path, what, theirs,
             ours);
    return true;
  };
  if (differs("topology", tuning.topology, wanted.topology) ||
      differs("comm/wire", tuning.wire, wanted.wire) ||
      differs("order of sums", tuning.order, wanted.order)) {
    return std::nullopt;
  }
  return tuning;
}

comm::Tuning find_tuning(Session& session, const train::Config& config,
                         const comm::Topology& topology, const comm::TunerOptions& options) {
  const comm::Tuning wanted = comm::empty_tuning(topology, options);
  const std::string own = (std::filesystem::path(config.run.dir) / "allreduce.json").string();
  std::optional<comm::Tuning> found;
  comm::run_together(session.comm, [&] {
    // The run folder's first: what an earlier job chose decides the last bits of a restart.
    if (std::filesystem::exists(own)) found = usable(own, wanted, session.log);
    if (!found && !config.comm.tuning.empty())
      found = usable(config.comm.tuning, wanted, session.log);
  });
  // Every rank looked at the same files, or found none.
  if (session.comm.all_reduce(std::int64_t{found ? 1 : 0}, comm::ReduceOp::min) == 1) {
    comm::run_on_root(session.comm, [&] { write_tuning(*found, own); });
    return std::move(*found);
  }
  session.log.info(
      "allreduce: measuring for about {:.0f} s (isaribi allreduce measures once for "
      "all jobs; then comm/tuning=allreduce.json)",
      kSeconds);
  comm::Tuning tuning = comm::tune(session.comm, topology, options).tuning;
  comm::run_on_root(session.comm, [&] { write_tuning(tuning, own); });
  return tuning;
}

}  // namespace

Surroundings check_reduction(Session& session, const train::Config& config) {
  check_progress(session.comm, config.comm.progress);
  if (!takes_hierarchies(session, config)) return {};
  Surroundings found = surroundings_of(session, config);
  if (!is_tuned(config))
    comm::check_plan(found.topology, comm::parse_plan(config.comm.allreduce), wire_of(config));
  return found;
}

void check_progress(comm::Communicator& comm, const std::string& progress) {
  if (progress != "thread" || comm.size() == 1) return;
  comm::run_together(comm, [&] {
    if (comm.calls() == nullptr)
      throw core::UsageError(
          "comm/progress=thread: this MPI library allows calls of the main thread only",
          "set comm/progress to auto or calls, or use a library with MPI_THREAD_SERIALIZED");
  });
}

MovingPlan move_on(comm::Communicator& comm, std::unique_ptr<comm::AllReducePlan> plan,
                   const std::string& progress, core::Log& log) {
  if (progress == "calls" || comm.size() == 1) return {std::move(plan), nullptr};
  check_progress(comm, progress);
  if (comm.calls() == nullptr) {
    log.warn(
        "comm/progress: this MPI library allows calls of the main thread only: sums move on "
        "between layers, and less of them is hidden");
    return {std::move(plan), nullptr};
  }
  std::shared_ptr<comm::ProgressThread> thread;
  comm::run_together(comm, [&] { thread = std::make_shared<comm::ProgressThread>(comm); });
  return {comm::keep_moving(std::move(plan), thread), thread};
}

std::unique_ptr<comm::AllReducePlan> make_reduction(Session& session, const train::Config& config,
                                                    const Surroundings& surroundings) {
  const std::string& key = config.comm.allreduce;
  if (!takes_hierarchies(session, config))
    return move_on(session.comm,
                   comm::make_allreduce_plan(session.comm.size() == 1 ? "mpi" : key, session.comm),
                   config.comm.progress, session.log)
        .plan;
  comm::TunerOptions options;
  options.sizes = kBucketSizes;
  options.type = core::parse_dtype(config.train.gradient_type);
  options.wire = wire_of(config);
  options.same_bits = key == "deterministic";
  options.budget_seconds = kSeconds;
  const comm::Topology& topology = surroundings.topology;
  if (!surroundings.measured_racks.empty()) {
    comm::run_on_root(session.comm,
                      [&] { write_racks(surroundings.measured_racks, racks_path(config)); });
  }
  comm::Tuning tuning;
  if (is_tuned(config)) {
    tuning = find_tuning(session, config, topology, options);
  } else {
    tuning.entries.push_back({0, comm::parse_plan(key), 0, 0});
  }
  auto plan =
      move_on(session.comm,
              std::make_unique<comm::TunedPlan>(session.comm, topology, tuning, options.wire),
              config.comm.progress, session.log)
          .plan;
  session.log.info("allreduce: {}; {}", topology.description(), plan->description());
  for (const comm::TuningEntry& e : tuning.entries) {
    if (e.seconds <= 0 || e.library_seconds <= 0) continue;
    session.log.info("  {:>8} by {}, {:.2f} times as fast as MPI_Allreduce",
                     comm::bytes_to_text(e.bytes), e.plan.text(), e.library_seconds / e.seconds);
  }
  if (optim::uses_owners(config.optimizer))
    session.log.info("owners: {}", plan->owner_route()->description());
  return plan;
}

}  // namespace isaribi::app
