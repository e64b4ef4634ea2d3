// SPDX-License-Identifier: MIT
#include "app/verbs/allreduce_one_way.hpp"

#include <fmt/format.h>

#include "comm/agreement.hpp"
#include "core/error.hpp"

namespace isaribi::app {
namespace {

constexpr comm::TimingLimits kLimits{3, 20, 2};

/// Buffers of one size, and one collective over them.
class Exchange {
 public:
  Exchange(comm::Communicator& comm, comm::Collective collective, core::DType type,
           std::int64_t bytes)
      : comm_(comm),
        scatter_(collective == comm::Collective::reduce_scatter),
        all_(core::Tensor::zeros({bytes / static_cast<std::int64_t>(core::size_of(type))}, type)) {
    const std::int64_t count = all_.count(), ranks = comm.size();
    for (std::int64_t r = 0; r < ranks; ++r) {
      begins_.push_back(count * r / ranks);
      counts_.push_back(count * (r + 1) / ranks - begins_.back());
    }
    mine_ = core::Tensor::zeros({counts_[static_cast<std::size_t>(comm.rank())]}, type);
  }

  /// Along `runner`, or by the library.
  void run(comm::ScheduleRunner* runner) const {
    if (runner != nullptr && scatter_)
      return runner->start_reduce_scatter_v(all_, counts_, mine_).wait();
    if (runner != nullptr) return runner->start_all_gather_v(mine_, counts_, all_).wait();
    scatter_ ? comm_.reduce_scatter_v(all_, counts_, mine_)
             : comm_.all_gather_v(mine_, counts_, all_);
  }

  /// Whether small integers, exact in every type that travels, arrive.
  bool right(comm::ScheduleRunner* runner) const {
    const core::DType type = all_.dtype();
    const std::int64_t differ = type == core::DType::f64   ? differences<double>(runner)
                                : type == core::DType::f32 ? differences<float>(runner)
                                                           : differences<std::int32_t>(runner);
    return comm_.all_reduce(differ, comm::ReduceOp::sum) == 0;
  }

 private:
  template <typename T>
  std::int64_t differences(comm::ScheduleRunner* runner) const {
    const auto value = [](std::int64_t i, int r) { return static_cast<T>((i * 7 + r * 3) % 4); };
    const int me = comm_.rank(), ranks = comm_.size();
    const std::int64_t begin = begins_[static_cast<std::size_t>(me)];
    for (std::int64_t i = 0; i < all_.count(); ++i)
      all_.data<T>()[i] = scatter_ ? value(i, me) : T(9);
    for (std::int64_t i = 0; i < mine_.count(); ++i)
      mine_.data<T>()[i] = scatter_ ? T(9) : value(begin + i, me);
    run(runner);
    std::int64_t differ = 0;
    for (std::int64_t i = 0; scatter_ && i < mine_.count(); ++i) {
      T sum{};
      for (int r = 0; r < ranks; ++r) sum += value(begin + i, r);
      differ += mine_.data<T>()[i] == sum ? 0 : 1;
    }
    for (int r = 0; !scatter_ && r < ranks; ++r) {
      const auto at = static_cast<std::size_t>(r);
      for (std::int64_t i = begins_[at]; i < begins_[at] + counts_[at]; ++i)
        differ += all_.data<T>()[i] == value(i, r) ? 0 : 1;
    }
    return differ;
  }

  comm::Communicator& comm_;
  bool scatter_;
  core::Tensor all_, mine_;
  std::vector<std::int64_t> begins_, counts_;
};

void print(const comm::PlanResult& result, double library, const comm::Topology& topology,
           const MachineFile& machine, int ranks, core::Log& log) {
  const auto bytes = static_cast<double>(result.bytes);
  const double t = result.measured.median, rate = bytes / t * 1e-6;
  const auto share = [&](double cut, double bytes_per_s) {  // half the cut of both ways
    if (cut <= 0 || bytes_per_s <= 0) return std::string("-");
    return fmt::format("{:.0f} %", 100 * cut / 2 / bytes_per_s / t);
  };
  log.info("  {:<26} {:>7.3f} ms {:>7.3f} ms {:>9.1f} {:>9.1f} {:>8.2f}x {:>6} {:>6}",
           result.plan.text(), 1e3 * t, 1e3 * result.measured.least, rate,
           rate * (ranks - 1) / ranks, library / t,
           share(comm::node_cut_bytes(topology, bytes), machine.node.bytes_per_s),
           share(comm::rack_cut_bytes(topology, bytes), machine.rack.bytes_per_s));
}

}  // namespace

comm::Collective parse_collective(std::string_view name) {
  for (const comm::Collective c : {comm::Collective::all_reduce, comm::Collective::reduce_scatter,
                                   comm::Collective::all_gather}) {
    if (comm::name_of(c) == name) return c;
  }
  throw core::UsageError(fmt::format("--collective {} is not known", name),
                         "all_reduce, reduce_scatter or all_gather");
}

comm::TunerReport measure_one_way(comm::Communicator& comm, const comm::Topology& topology,
                                  const MachineFile& machine, const comm::TunerOptions& options,
                                  comm::Collective collective, bool check, core::Log& log) {
  comm::run_together(comm, [&] {
    if (options.plans.empty())
      throw core::UsageError(
          fmt::format("--collective {} chooses no plan by itself", comm::name_of(collective)),
          "name some: --plan direct2-ring4/256K");
  });
  std::vector<comm::PlanChoice> plans{{}};
  for (const comm::PlanChoice& plan : options.plans) {
    if (!plan.library() && comm.size() > 1) plans.push_back(plan);
  }
  comm::TunerReport report;
  std::vector<std::string> wrong;
  for (const std::int64_t bytes : options.sizes) {
    const Exchange exchange(comm, collective, options.type, bytes);
    log.info("\n{} of {} bytes{:>17} {:>10} {:>9} {:>9} {:>9} {:>6} {:>6}",
             comm::name_of(collective), comm::bytes_to_text(bytes), "median", "least", "algbw",
             "busbw", "/library", "node", "rack");
    double library = 0;
    for (const comm::PlanChoice& plan : plans) {
      std::unique_ptr<comm::ScheduleRunner> runner;
      if (!plan.library())
        runner = comm::make_runner(comm, topology, plan, options.wire, options.window);
      const comm::Timing timing =
          comm::time_together(comm, kLimits, [&] { exchange.run(runner.get()); });
      report.results.push_back({bytes, plan, timing});
      if (plan.library()) library = timing.median;
      print(report.results.back(), library, topology, machine, comm.size(), log);
      if (check && !exchange.right(runner.get()))
        wrong.push_back(plan.text() + " at " + comm::bytes_to_text(bytes));
    }
  }
  log.info(
      "\nbytes: of all ranks' parts together; algbw = bytes / median in MB/s, busbw = algbw "
      "(P - 1) / P; of each run the slowest rank counts; node, rack: share of the bound (k - 1) / "
      "k "
      "bytes over the rate of a node, a rack (k of them)");
  for (const std::string& plan : wrong) log.warn("wrong results: {}", plan);
  if (!wrong.empty())
    throw comm::CollectiveError(
        core::ExitCode::numerical,
        fmt::format("{} of {} results are wrong", wrong.size(), report.results.size()),
        "keep to the plans that are right, and report the table");
  if (check) log.info("{} results checked with exact integers: all right", report.results.size());
  return report;
}

}  // namespace isaribi::app
