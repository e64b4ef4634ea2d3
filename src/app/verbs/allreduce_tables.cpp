// SPDX-License-Identifier: MIT
#include "app/verbs/allreduce_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace isaribi::app {
namespace {

struct Bounds {
  double node = 0, rack = 0;  ///< seconds; 0: rate not told, or only one of them
};

Bounds bounds_of(const comm::Topology& topology, const MachineFile& machine, double bytes) {
  Bounds b;
  if (machine.node.bytes_per_s > 0)
    b.node = comm::node_cut_bytes(topology, bytes) / machine.node.bytes_per_s;
  if (machine.rack.bytes_per_s > 0)
    b.rack = comm::rack_cut_bytes(topology, bytes) / machine.rack.bytes_per_s;
  return b;
}

void print_model(const comm::TunerReport& report, const comm::Topology& topology, core::Log& log) {
  if (report.model.links.empty()) return;  // nothing to fit it to
  std::set<std::pair<int, comm::Exchange>> used;
  for (const comm::PlanResult& r : report.results) {
    if (r.plan.library()) continue;
    for (const comm::StageLoad& load :
         comm::stage_loads(topology, comm::Hierarchy(topology.order, r.plan.levels)))
      used.emplace(load.link, load.exchange);
  }
  log.info("\n{:<30} {:>12} {:>12} {:>12} {:>12}", "fitted model", "latency", "alone", "busy",
           "small");
  for (std::size_t c = 0; c < report.model.links.size(); ++c) {
    const std::string where = c > 0 ? "out of " + comm::with_article(topology.kinds[c - 1])
                              : topology.kinds.empty()
                                  ? "between ranks"
                                  : "in " + comm::with_article(topology.kinds[0]);
    for (const comm::Exchange e : comm::kExchanges) {
      if (!used.contains({static_cast<int>(c), e})) continue;
      const comm::LinkCost& cost = report.model.links[c].of(e);
      log.info("  {:<28} {:>9.1f} us {:>7.1f} MB/s {:>7.1f} MB/s {:>7.1f} MB/s",
               fmt::format("{}, {}", where, comm::name_of(e)), 1e6 * cost.latency,
               1e-6 / cost.alone, 1e-6 / cost.busy, 1e-6 / cost.eager);
    }
  }
  log.info("  small: messages below {:.0f} KiB", report.model.large_bytes / 1024);
}

void print_results(const comm::TunerReport& report, const comm::Topology& topology,
                   const MachineFile& machine, int ranks, core::Log& log) {
  std::int64_t bytes = -1;
  double library = 0;
  const double bus = 2.0 * (ranks - 1) / ranks;
  for (const comm::PlanResult& r : report.results) {
    if (r.bytes != bytes) {
      bytes = r.bytes;
      log.info("\n{} bytes{:>25} {:>10} {:>10} {:>9} {:>9} {:>9} {:>6} {:>6}",
               comm::bytes_to_text(bytes), "median", "least", "predicted", "algbw", "busbw",
               "/library", "node", "rack");
    }
    if (r.plan.library()) library = r.measured.median;
    const Bounds b = bounds_of(topology, machine, static_cast<double>(bytes));
    const double t = r.measured.median, rate = static_cast<double>(bytes) / t * 1e-6;
    const auto share = [&](double bound) {
      return bound > 0 ? fmt::format("{:.0f} %", 100 * bound / t) : std::string("-");
    };
    log.info("  {:<26} {:>7.3f} ms {:>7.3f} ms {:>10} {:>9.1f} {:>9.1f} {:>8.2f}x {:>6} {:>6}",
             r.plan.text(), 1e3 * t, 1e3 * r.measured.least,
             r.predicted > 0 ? fmt::format("{:.3f}", 1e3 * r.predicted) : "", rate, bus * rate,
             library / t, share(b.node), share(b.rack));
  }
  log.info(
      "\nalgbw = bytes / median in MB/s, busbw = algbw 2 (P - 1) / P; of each run the slowest "
      "rank counts; node, rack: share of the bound 2 (k - 1) / k bytes over the rate of a "
      "node, a rack (k of them){}",
      machine.node.bytes_per_s > 0 ? "" : "; give rates with --topology");
}

/// Of |prediction / measurement - 1|.
std::string median_and_largest(std::vector<double> errors) {
  if (errors.empty()) return "none";
  std::sort(errors.begin(), errors.end());
  return fmt::format("median {:.1f} %, largest {:.1f} % of {}", 100 * errors[errors.size() / 2],
                     100 * errors.back(), errors.size());
}

void print_errors(const comm::TunerReport& report, core::Log& log) {
  std::vector<double> unseen, fitted;
  int measured = 0, searched = 0;
  for (const comm::PlanResult& r : report.results) {
    if (r.plan.library()) continue;
    if (!r.calibration && r.predicted > 0)
      unseen.push_back(std::abs(r.predicted / r.measured.median - 1));
    if (r.fitted > 0) fitted.push_back(std::abs(r.fitted / r.measured.median - 1));
    ++measured;
    if (r.searched) ++searched;
  }
  const double share =
      100.0 * searched / static_cast<double>(std::max<std::int64_t>(1, report.plans));
  const std::string search =
      searched > 0 ? fmt::format(" ({} by the search, {:.1f} %)", searched, share) : "";
  log.info(
      "{} of {} plans measured{}; error of the prediction: {}; of the model fitted to them: {}",
      measured, report.plans, search, median_and_largest(unseen), median_and_largest(fitted));
}

/// After an exhaustive search: how far the plan that the search alone chooses is from the best.
void print_regret(const comm::TunerReport& report, core::Log& log) {
  for (const comm::TuningEntry& e : report.tuning.entries) {
    double found = e.library_seconds, best = e.library_seconds;
    int searched = 0, plans = 0;
    for (const comm::PlanResult& r : report.results) {
      if (r.bytes != e.bytes || r.plan.library()) continue;
      ++plans;
      best = std::min(best, r.measured.median);
      if (!r.searched) continue;
      ++searched;
      found = std::min(found, r.measured.median);
    }
    log.info("  {:>8}: the search, {} of {} plans, ends {:.1f} % behind the best of all",
             comm::bytes_to_text(e.bytes), searched, plans, 100 * (found / best - 1));
  }
}

}  // namespace

void print_tables(const comm::TunerReport& report, const comm::Topology& topology,
                  const MachineFile& machine, bool exhaustive, core::Log& log) {
  print_model(report, topology, log);
  print_results(report, topology, machine, topology.ranks(), log);
  print_errors(report, log);
  if (exhaustive) print_regret(report, log);
  log.info("\nchosen");
  for (const comm::TuningEntry& e : report.tuning.entries)
    log.info("  {:>8}  {:<26} {:.2f} times as fast as MPI_Allreduce", comm::bytes_to_text(e.bytes),
             e.plan.text(), e.library_seconds / e.seconds);
}

void print_containment(const comm::ContainmentReport& report, int ranks, core::Log& log) {
  if (report.rows.empty()) {
    log.info("\ncontainment: no half of {} ranks has more than one hierarchy", ranks);
    return;
  }
  log.info("\ncontainment: the fastest hierarchies of {} ranks, cut down to a part", ranks);
  log.info("  {:>8} {:<26} {:>6} {:<26} {:<26} {:>8}  within {:.0f} %", "bytes", "fastest of all",
           "part", "cut down", "fastest there", "behind", 100 * comm::kAsFast);
  std::size_t holds = 0;
  for (const comm::Containment& c : report.rows) {
    holds += c.holds() ? 1 : 0;
    log.info("  {:>8} {:<26} {:>6} {:<26} {:<26} {:>6.1f} %  {}", comm::bytes_to_text(c.bytes),
             c.whole.text(), c.ranks, c.cut.text(), c.best.text(), 100 * c.behind(),
             c.holds() ? "holds" : "fails");
  }
  log.info("  holds in {} of {}", holds, report.rows.size());
}

}  // namespace isaribi::app
