// SPDX-License-Identifier: MIT
// What the CPU under this rank can do at most: multiply-adds in registers by element type and
// instruction set, and the bandwidth of every level of memory, of one thread and of all. The
// denominators of every "share of peak"; the roofline model is Williams, Waterman & Patterson 2009.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backends/api/probe.hpp"
#include "core/tensor.hpp"

namespace isaribi::selftest {

/// "AMD EPYC 9554 (family 25, model 17)", from /proc/cpuinfo.
std::string cpu_name();

/// The best rate seen on one thread and on all threads at once.
struct Rate {
  double one = 0, all = 0;
};

struct Peak {
  std::string isa;   ///< "avx512"; "portable" is what the compiler makes of a plain loop
  std::string what;  ///< "f32 FMA", "f64 FMA", "bf16 dot", "int8 dot"
  Rate giga_ops;     ///< 1e9 operations per second, two per multiply-add
};

struct MemoryLevel {
  std::string name;          ///< "L1", "L2", "L3", "DRAM"
  double capacity = 0;       ///< bytes of all threads together; infinite for DRAM
  std::int64_t one_set = 0;  ///< elements that one thread alone walks over
  std::int64_t all_set = 0;  ///< elements per thread when all do
  Rate read, update;         ///< GB/s; update, y += s x, counts two loads and a store
  double gbs() const { return read.all > update.all ? read.all : update.all; }
};

/// What binds a piece of work, and the least time it can take.
struct Bound {
  std::string name;  ///< "f32 FMA", "L2", ...
  double seconds = 0;
};

class Machine {
 public:
  /// @param isa a forced instruction set: only its bandwidths are measured, and bound() takes its
  /// FMA peak. Empty: the best of all.
  Machine(api::Probes probes, int threads, std::string isa);
  /// Times everything in turns for about `seconds` (each at least once). May be called again: the
  /// best counts, so that a neighbour on the core does not lower a peak.
  void measure(double seconds);

  int threads() const { return threads_; }
  const std::string& isa() const { return isa_; }
  const std::vector<Peak>& peaks() const { return peaks_; }
  const std::vector<MemoryLevel>& levels() const { return levels_; }
  /// 1e9 operations per second of all threads; 0 when there is no such unit.
  double peak(std::string_view what) const;
  /// The f32 FMA peak of all threads at this moment, timed for `seconds`: 1e9 operations per
  /// second. On a shared machine clocks and hyperthreads of others move it; measure() must have
  /// run.
  double fma_peak_now(double seconds) const;
  /// The least time of f32 work that reads and writes `bytes` again and again: of its arithmetic,
  /// or of its memory traffic, of which each cache serves at most what it holds.
  Bound bound(double flops, double bytes) const;

 private:
  void time_peak(std::size_t i, double seconds);
  void time_stream(const api::StreamProbe& probe, MemoryLevel& level, bool all);

  api::Probes probes_;
  int threads_;
  std::string isa_;
  std::vector<Peak> peaks_;  ///< of probes_.compute, in its order
  std::vector<MemoryLevel> levels_;
  core::Tensor memory_;
};

}  // namespace isaribi::selftest
