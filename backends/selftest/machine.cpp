// SPDX-License-Identifier: MIT
// Short trials in turns, the best of each counts: on a shared machine the best of many is nearer to
// the truth than the mean of few.
#include "backends/selftest/machine.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <utility>

#include "backends/selftest/caches.hpp"
#include "core/timer.hpp"

namespace isaribi::selftest {
namespace {

constexpr const char* kFma = "f32 FMA";
constexpr double kTrial = 2e-4;                   // seconds of arithmetic
constexpr double kTrialBytes = 4.0 * (1 << 20);   // of one thread, unless the set is larger
constexpr std::int64_t kLeastDram = 256LL << 20;  // bytes of all threads
constexpr std::int64_t kMostDram = std::int64_t{2} << 30;

/// Amount per second of `work(thread)`, which returns the amount it did, on `threads` threads that
/// start together.
template <class Work>
double rate(int threads, const Work& work) {
  double first = std::numeric_limits<double>::max(), last = 0, amount = 0;
#pragma omp parallel num_threads(threads) reduction(min : first) reduction(max : last) \
    reduction(+ : amount)
  {
#pragma omp barrier
    first = core::now_seconds();
    amount += work(omp_get_thread_num());
    last = core::now_seconds();
  }
  return amount / (last - first);
}

void keep_best(double& best, double value) {
  best = std::max(best, value);
}

// The loops of a machine whose backends bring none: vectors of 16 bytes, which every CPU has.
using Vector = float __attribute__((vector_size(16)));

double portable_chain(std::ptrdiff_t rounds) {
  constexpr int kChains = 8;
  Vector chain[kChains];
  const Vector half = {0.5f, 0.5f, 0.5f, 0.5f};
  for (Vector& c : chain) c = half;
  for (std::ptrdiff_t r = 0; r < rounds; ++r) {
    for (Vector& c : chain) c = c * half + half;
  }
  for (const Vector& c : chain) asm volatile("" : : "m"(c));
  return 2.0 * kChains * 4 * static_cast<double>(rounds);
}

void portable_read(const float* x, std::ptrdiff_t n) {
  Vector sum[4] = {};
  for (std::ptrdiff_t i = 0; i < n; i += 16) {
    for (int u = 0; u < 4; ++u) sum[u] += *reinterpret_cast<const Vector*>(x + i + 4 * u);
  }
  for (const Vector& s : sum) asm volatile("" : : "m"(s));
}

void portable_update(float* y, const float* x, std::ptrdiff_t n) {
#pragma omp simd
  for (std::ptrdiff_t i = 0; i < n; ++i) y[i] += 0.5f * x[i];
}

std::int64_t whole_grains(std::int64_t elements) {
  return std::max(elements / (2 * api::kStreamGrain), std::int64_t{1}) * 2 * api::kStreamGrain;
}

/// Sets of half a cache, what is shared being shared out; DRAM far beyond the last cache.
std::vector<MemoryLevel> memory_levels(int threads) {
  std::vector<MemoryLevel> levels;
  std::int64_t beyond = kLeastDram;
  constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
  for (const Cache& cache : data_caches()) {
    const int sharing = std::clamp(cache.cpus, 1, threads);
    const std::int64_t instances = (threads + sharing - 1) / sharing;
    MemoryLevel level;
    level.name = fmt::format("L{}", cache.level);
    level.capacity = static_cast<double>(cache.bytes * instances);
    level.one_set = whole_grains(cache.bytes / 2 / kFloat);
    level.all_set = whole_grains(cache.bytes / 2 / sharing / kFloat);
    beyond = std::max(beyond, 4 * cache.bytes * instances);
    levels.push_back(level);
  }
  MemoryLevel dram;
  dram.name = "DRAM";
  dram.capacity = std::numeric_limits<double>::infinity();
  dram.one_set = whole_grains(kLeastDram / kFloat);
  dram.all_set = whole_grains(std::min(beyond, kMostDram) / threads / kFloat);
  levels.push_back(dram);
  return levels;
}

}  // namespace

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  std::map<std::string, std::string> fields;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    if (colon + 2 <= line.size()) fields.emplace(key, line.substr(colon + 2));
  }
  if (fields["model name"].empty()) return "unknown CPU";
  return fields["model name"] + " (family " + fields["cpu family"] + ", model " + fields["model"] +
         ")";
}

Machine::Machine(api::Probes probes, int threads, std::string isa)
    : probes_(std::move(probes)), threads_(std::max(1, threads)), isa_(std::move(isa)) {
  const auto other = [&](const auto& probe) { return !isa_.empty() && probe.isa != isa_; };
  std::erase_if(probes_.stream, other);
  const bool none = std::none_of(probes_.compute.begin(), probes_.compute.end(),
                                 [&](const auto& probe) { return !other(probe); });
  if (none) probes_.compute.push_back({"portable", kFma, portable_chain});
  if (none) isa_.clear();
  if (probes_.stream.empty())
    probes_.stream.push_back({"portable", portable_read, portable_update});
  for (const api::ComputeProbe& probe : probes_.compute)
    peaks_.push_back({probe.isa, probe.what, {}});
  levels_ = memory_levels(threads_);
  const MemoryLevel& dram = levels_.back();
  memory_ = core::Tensor({std::max(dram.one_set, dram.all_set * threads_)}, core::DType::f32);
  float* x = memory_.data<float>();
#pragma omp parallel for num_threads(threads_) schedule(static)
  for (std::int64_t i = 0; i < memory_.count(); ++i) x[i] = 1.0f;
}

void Machine::time_peak(std::size_t i, double seconds) {
  constexpr std::ptrdiff_t kFirst = 10000;
  const api::ComputeProbe& probe = probes_.compute[i];
  const double start = core::now_seconds();
  probe.run(kFirst);
  const double first = std::max(core::now_seconds() - start, 1e-7);
  const auto rounds = static_cast<std::ptrdiff_t>(std::max(1.0, kTrial / first * kFirst));
  const auto run = [&](int) { return 1e-9 * probe.run(rounds); };
  Rate& best = peaks_[i].giga_ops;
  for (const double end = start + seconds; core::now_seconds() < end || best.all == 0;) {
    keep_best(best.one, rate(1, run));
    keep_best(best.all, rate(threads_, run));
  }
  keep_best(best.all, best.one);  // all can do what one can
}

void Machine::time_stream(const api::StreamProbe& probe, MemoryLevel& level, bool all) {
  float* memory = memory_.data<float>();
  const std::int64_t n = all ? level.all_set : level.one_set;
  const double bytes = static_cast<double>(n) * sizeof(float);
  const int passes = std::max(1, static_cast<int>(kTrialBytes / bytes));
  const auto repeat = [&](double moved, const auto& pass) {
    return rate(all ? threads_ : 1, [&](int thread) {
      for (int p = 0; p < passes; ++p) pass(memory + thread * n);
      return 1e-9 * moved * passes;
    });
  };
  keep_best(all ? level.read.all : level.read.one,
            repeat(bytes, [&](float* x) { probe.read(x, n); }));
  keep_best(all ? level.update.all : level.update.one,
            repeat(1.5 * bytes, [&](float* x) { probe.update(x, x + n / 2, n / 2); }));
}

void Machine::measure(double seconds) {
  constexpr int kRounds = 3;  // far apart, against a disturbance that lasts
  const double slots = static_cast<double>(peaks_.size() + levels_.size() * probes_.stream.size());
  const double slot = seconds / kRounds / slots;
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < peaks_.size(); ++i) time_peak(i, slot);
    for (MemoryLevel& level : levels_) {
      for (const api::StreamProbe& probe : probes_.stream) {
        const double end = core::now_seconds() + slot;
        do {
          for (const bool all : {false, true}) time_stream(probe, level, all);
        } while (core::now_seconds() < end);
      }
      keep_best(level.read.all, level.read.one);
      keep_best(level.update.all, level.update.one);
    }
  }
}

double Machine::peak(std::string_view what) const {
  double best = 0;
  for (const Peak& peak : peaks_) {
    if (peak.what == what && (isa_.empty() || peak.isa == isa_)) keep_best(best, peak.giga_ops.all);
  }
  return best;
}

double Machine::fma_peak_now(double seconds) const {
  std::size_t best = peaks_.size();
  for (std::size_t i = 0; i < peaks_.size(); ++i) {
    const bool eligible = peaks_[i].what == kFma && (isa_.empty() || peaks_[i].isa == isa_);
    if (eligible && (best == peaks_.size() || peaks_[i].giga_ops.all > peaks_[best].giga_ops.all))
      best = i;
  }
  const api::ComputeProbe& probe = probes_.compute[best];
  const double rounds = seconds * 1e9 * peaks_[best].giga_ops.all / threads_ / probe.run(1);
  return rate(threads_, [&](int) { return 1e-9 * probe.run(static_cast<std::ptrdiff_t>(rounds)); });
}

Bound Machine::bound(double flops, double bytes) const {
  Bound memory;
  double inner = 0;
  for (const MemoryLevel& level : levels_) {
    const double here = std::min(bytes, level.capacity) - inner;
    if (here <= 0) continue;
    memory.seconds += 1e-9 * here / level.gbs();
    memory.name = level.name;
    inner += here;
  }
  const double compute = 1e-9 * flops / peak(kFma);
  return compute >= memory.seconds ? Bound{kFma, compute} : memory;
}

}  // namespace isaribi::selftest
