// SPDX-License-Identifier: MIT
#include "backends/selftest/speed.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>

#include "backends/selftest/bench_cases.hpp"
#include "core/timer.hpp"

namespace isaribi::selftest {
namespace {

constexpr double kQuiet = 0.75;  // clocks fall when all cores work, but not this far

/// An operation at one shape; the values of `scaled` go from small to the one wanted.
struct Row {
  const char* op;
  std::vector<const char*> scaled;  ///< keys
  std::vector<std::int64_t> scales;
  std::map<std::string, std::string> fixed;
};

using Fixed = std::map<std::string, std::string>;

Fixed conv(const char* h, const char* i, const char* o, const char* k, const char* p,
           const char* g = "1") {
  return {{"h", h}, {"i", i}, {"o", o}, {"k", k}, {"p", p}, {"g", g}};
}

std::vector<Row> rows() {
  const std::vector<std::int64_t> squares{128, 512, 1024}, batches{1, 8, 32};
  std::vector<Row> list{{"gemm", {"m", "k", "n"}, squares, {}},
                        {"syrk", {"m", "k"}, squares, {{"ta", "1"}}}};
  for (const Fixed& shape : {conv("28", "128", "128", "3", "1"), conv("28", "64", "256", "1", "0"),
                             conv("28", "144", "144", "3", "1", "144")}) {
    for (const char* op : {"conv_forward", "conv_backward_data", "conv_backward_weights"})
      list.push_back({op, {"n"}, batches, shape});
  }
  for (const char* op : {"linear_forward", "linear_backward_data", "linear_backward_weights"})
    list.push_back({op, {"n"}, {8, 64, 256}, {{"i", "1024"}, {"o", "1024"}}});
  for (const char* op :
       {"batch_norm_statistics", "batch_norm_normalize", "batch_norm_backward_reduce",
        "batch_norm_backward_apply", "add_relu", "max_pool_forward", "max_pool_backward"})
    list.push_back({op, {"n"}, {1, 8, 64}, {{"h", "28"}, {"i", "64"}}});
  for (const char* op : {"sgd_update", "adam_update"})
    list.push_back({op, {"n"}, {1 << 14, 1 << 18, 1 << 21}, {}});
  return list;
}

double time_once(const Case& c, api::Backend& backend) {
  const double start = core::now_seconds();
  c.run();
  backend.synchronize();
  return std::max(core::now_seconds() - start, 1e-9);
}

Speed measure_row(const Row& row, api::Backend& backend, double seconds) {
  constexpr double kRepeats = 40;  // that a larger shape must leave time for
  const double end = core::now_seconds() + seconds;
  Speed speed;
  speed.op = row.op;
  Case current;
  for (const std::int64_t scale : row.scales) {
    Fixed arguments = row.fixed;
    for (const char* key : row.scaled) arguments[key] = std::to_string(scale);
    current = {};
    current = make_case(row.op, Arguments(arguments), backend);
    speed.shape.clear();
    for (const auto& [key, value] : arguments) {
      if (value != "1" || key != "g")
        speed.shape += (speed.shape.empty() ? "" : " ") + key + "=" + value;
    }
    time_once(current, backend);  // the first call places its memory
    speed.seconds = time_once(current, backend);
    for (int again = 0; again < 4 && speed.seconds < seconds; ++again)
      speed.seconds = std::min(speed.seconds, time_once(current, backend));
    if (speed.seconds > seconds / kRepeats) break;
  }
  speed.flops = current.flops;
  speed.bytes = current.bytes;
  while (core::now_seconds() < end)
    speed.seconds = std::min(speed.seconds, time_once(current, backend));
  return speed;
}

Bound bound_of(const Speed& speed, const Machine& machine) {
  return machine.bound(speed.flops, speed.bytes);
}

bool on_host(const api::Backend& backend) {
  return const_cast<api::Backend&>(backend).memory().device().kind == core::Device::Kind::host;
}

std::string working_set(std::int64_t elements) {
  const double kib = static_cast<double>(elements) * sizeof(float) / 1024;
  return kib < 1024 ? fmt::format("{:.0f} KiB", kib) : fmt::format("{:.1f} MiB", kib / 1024);
}

}  // namespace

std::vector<Speed> measure_speed(api::Backend& backend, double seconds,
                                 const std::function<void(const Speed&)>& on_result) {
  const std::vector<Row> list = rows();
  std::vector<Speed> speeds;
  const double end = core::now_seconds() + seconds;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const double left = std::max(0.0, end - core::now_seconds());
    speeds.push_back(measure_row(list[i], backend, left / static_cast<double>(list.size() - i)));
    if (on_result) on_result(speeds.back());
  }
  return speeds;
}

double share_of_bound(const Speed& speed, const Machine& machine, const api::Backend& backend) {
  return on_host(backend) ? bound_of(speed, machine).seconds / speed.seconds : 0;
}

std::vector<std::string> machine_table(const Machine& machine) {
  std::vector<std::string> lines{fmt::format("{:<28} {:>14} {:>14}", "arithmetic, Gop/s",
                                             "one thread",
                                             fmt::format("threads: {}", machine.threads()))};
  for (const Peak& p : machine.peaks())
    lines.push_back(fmt::format("{:<28} {:>14.1f} {:>14.1f}", p.what + " " + p.isa, p.giga_ops.one,
                                p.giga_ops.all));
  const Rate& first = machine.peaks().front().giga_ops;
  const double scaling = first.all / (first.one * machine.threads());
  if (scaling < kQuiet)
    lines.push_back(fmt::format(
        "note: {} threads reach {:.0f} % of {} times one thread: is something else running here?",
        machine.threads(), 100 * scaling, machine.threads()));
  lines.push_back("");
  lines.push_back(fmt::format("{:<28} {:>14} {:>14}", "memory, GB/s", "one thread",
                              fmt::format("threads: {}", machine.threads())));
  for (const MemoryLevel& level : machine.levels()) {
    lines.push_back(fmt::format("{:<28} {:>14.1f} {:>14.1f}",
                                fmt::format("{} read, {}", level.name, working_set(level.one_set)),
                                level.read.one, level.read.all));
    lines.push_back(fmt::format("{:<28} {:>14.1f} {:>14.1f}", level.name + " update y += s x",
                                level.update.one, level.update.all));
  }
  return lines;
}

std::vector<std::string> speed_table(const std::vector<Speed>& speeds, const Machine& machine,
                                     const api::Backend& backend) {
  std::vector<std::string> lines{fmt::format("{:<27} {:<34} {:>10} {:>9} {:>8} {:>9}  {}",
                                             "operation, f32", "shape", "ms", "GFLOP/s", "GB/s",
                                             "share", "of")};
  for (const Speed& s : speeds) {
    const double share = share_of_bound(s, machine, backend);
    lines.push_back(fmt::format(
        "{:<27} {:<34} {:>10.4f} {:>9.1f} {:>8.1f} {:>9}  {}", s.op, s.shape, 1e3 * s.seconds,
        1e-9 * s.flops / s.seconds, 1e-9 * s.bytes / s.seconds,
        share > 0 ? fmt::format("{:.1f} %", 100 * share) : "-",
        share > 0 ? bound_of(s, machine).name : "the device's bounds are not measured"));
  }
  return lines;
}

void write_csv(std::ostream& out, const std::vector<Speed>& speeds, const Machine& machine,
               const api::Backend& backend) {
  out << "kind,name,detail,seconds,one_thread,all_threads,unit,bound,share\n";
  for (const Peak& p : machine.peaks())
    out << fmt::format("compute,{},{},,{:.6g},{:.6g},Gop/s,,\n", p.what, p.isa, p.giga_ops.one,
                       p.giga_ops.all);
  for (const MemoryLevel& level : machine.levels()) {
    out << fmt::format("read,{},{},,{:.6g},{:.6g},GB/s,,\n", level.name, working_set(level.all_set),
                       level.read.one, level.read.all);
    out << fmt::format("update,{},{},,{:.6g},{:.6g},GB/s,,\n", level.name,
                       working_set(level.all_set), level.update.one, level.update.all);
  }
  for (const Speed& s : speeds) {
    const bool arithmetic = s.flops > 0;
    out << fmt::format("op,{},{},{:.6g},,{:.6g},{},{},{:.4f}\n", s.op, s.shape, s.seconds,
                       1e-9 * (arithmetic ? s.flops : s.bytes) / s.seconds,
                       arithmetic ? "GFLOP/s" : "GB/s", bound_of(s, machine).name,
                       share_of_bound(s, machine, backend));
  }
}

}  // namespace isaribi::selftest
