// SPDX-License-Identifier: MIT
// CPUID and a short timing of the convolution tile. A wider level is taken unless it is clearly
// slower every time, which keeps the choice the same from run to run on a busy machine.
#include "backends/simd/cpu.hpp"

#include <cpuid.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/error.hpp"
#include "core/tensor.hpp"
#include "core/timer.hpp"

namespace isaribi::simd {
namespace {

// A narrower level is chosen only if it beats the widest by this factor in every one of some rounds
// that lie apart: one disturbed timing must not change the bits of a run (it happened in 1 of 130
// starts on two busy cores), and a CPU whose wide units are slow shows it in all of them.
constexpr double kWiderIsSlower = 1.3;
constexpr int kRounds = 5;

struct Known {
  const char* name;
  const Kernels& (*kernels)();
  bool (*supported)();
};

// Clang below 17 does not know "f16c" as a feature of __builtin_cpu_supports.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
// __builtin_cpu_supports asks CPUID and, for the register state, the operating system.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const Known kKnown[] = {{"avx2", avx2_kernels, has_avx2}, {"avx512", avx512_kernels, has_avx512}};

/// Leaf 4 of Intel, which AMD repeats as leaf 0x8000001D: one cache per sub-leaf.
Caches read_caches() {
  Caches found;
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool amd = __get_cpuid_count(0x8000001D, 0, &a, &b, &c, &d) != 0 && (a & 31u) != 0;
  for (unsigned i = 0; i < 8; ++i) {
    if (__get_cpuid_count(amd ? 0x8000001D : 4, i, &a, &b, &c, &d) == 0) break;
    const unsigned kind = a & 31u, level = (a >> 5) & 7u, sharing = ((a >> 14) & 0xfffu) + 1;
    if (kind == 0) break;
    if (kind == 2) continue;  // instructions
    const std::int64_t line = (b & 0xfffu) + 1, partitions = ((b >> 12) & 0x3ffu) + 1;
    const std::int64_t ways = (b >> 22) + 1, sets = static_cast<std::int64_t>(c) + 1;
    const std::int64_t bytes = line * partitions * ways * sets / sharing;
    if (level == 1) found.l1 = std::clamp<std::int64_t>(bytes, 16 << 10, 256 << 10);
    if (level == 2) found.l2 = std::clamp<std::int64_t>(bytes, 128 << 10, 8 << 20);
    if (level == 3) found.l3 = std::clamp<std::int64_t>(bytes, 512 << 10, 64 << 20);
  }
  return found;
}

/// Time in seconds of one run over a tile that fits L1: 14 x 2 pixels, 32 channels to 32.
double run_once(const Kernels& k, const float* x, const float* w, float* y) {
  constexpr int kRun = 144;
  const std::ptrdiff_t offset = 0;
  ConvPanel a{};
  a.x = x;
  a.x_pixel = 32;
  a.offset = &offset;
  a.segments = 1;
  a.run = kRun;
  a.w = w;
  a.y = y;
  a.y_pixel = 32;
  a.rows = 8;
  a.columns = 12;
  a.vectors = 2;
  a.channels = 2 * k.lanes;
  const double start = core::now_seconds();
  k.conv_panel(a);
  const double seconds = core::now_seconds() - start;
  return seconds / (2.0 * 8 * 12 * kRun * a.channels);
}

/// The best time of each level. Levels take turns, since another process may hold the core for the
/// whole of one; every turn warms up first, since some CPUs start their wide units slowly.
void time_levels(std::vector<Level>& levels) {
  constexpr int kTurns = 3;
  constexpr double kWarmUp = 1e-3, kTurn = 2e-3;  // seconds
  const core::Tensor x = core::Tensor::zeros({1024}, core::DType::f32);
  const core::Tensor w = core::Tensor::zeros({144 * 32}, core::DType::f32);
  const core::Tensor y = core::Tensor::zeros({1024}, core::DType::f32);
  std::vector<double> best(levels.size(), 1e30);
  for (int turn = 0; turn < kTurns; ++turn) {
    for (std::size_t i = 0; i < levels.size(); ++i) {
      const double start = core::now_seconds();
      for (double now = start; now < start + kTurn; now = core::now_seconds()) {
        const double seconds =
            run_once(*levels[i].kernels, x.data<float>(), w.data<float>(), y.data<float>());
        if (now > start + kWarmUp) best[i] = std::min(best[i], seconds);
      }
    }
  }
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i].gflops = 1e-9 / best[i];
}

/// The fastest level if it beats the first one, the widest, by the margin; else 0.
std::size_t clearly_faster(const std::vector<Level>& levels) {
  const auto fastest =
      std::max_element(levels.begin(), levels.end(),
                       [](const Level& a, const Level& b) { return a.gflops < b.gflops; });
  const bool clear = fastest->gflops > kWiderIsSlower * levels.front().gflops;
  return clear ? static_cast<std::size_t>(fastest - levels.begin()) : 0;
}

std::string names(const std::vector<Level>& levels) {
  std::string text;
  for (const Level& level : levels)
    text += (text.empty() ? "" : ", ") + std::string(level.kernels->isa);
  return text.empty() ? "none" : text;
}

}  // namespace

const Caches& caches() {
  static const Caches found = read_caches();
  return found;
}

std::vector<Level> available_levels() {
  std::vector<Level> levels;
  for (const Known& known : kKnown) {
    if (known.supported()) levels.push_back({&known.kernels(), 0});
  }
  return levels;
}

std::vector<Level> rank_levels(std::vector<Level> levels, const TimeLevels& time,
                               std::chrono::milliseconds pause) {
  std::reverse(levels.begin(), levels.end());  // widest first
  if (levels.size() < 2) return levels;
  std::size_t fastest = 0;
  for (int round = 0; round < kRounds; ++round) {
    if (round > 0) std::this_thread::sleep_for(pause);
    time(levels);
    const std::size_t found = clearly_faster(levels);
    if (found == 0 || (round > 0 && found != fastest)) return levels;
    fastest = found;
  }
  const auto chosen = levels.begin() + static_cast<std::ptrdiff_t>(fastest);
  std::rotate(levels.begin(), chosen, chosen + 1);
  return levels;
}

std::vector<Level> rank_levels() {
  return rank_levels(available_levels(), time_levels, std::chrono::milliseconds(20));
}

Level choose_level(const std::string& wanted) {
  if (wanted.empty()) {
    const std::vector<Level> levels = rank_levels();
    if (!levels.empty()) return levels.front();
    throw core::UsageError("backend simd needs a CPU with AVX2, FMA and F16C",
                           "use --backend=kokkos or --backend=reference");
  }
  const std::vector<Level> levels = available_levels();
  for (const Level& level : levels) {
    if (wanted == level.kernels->isa) return level;
  }
  const bool known = std::any_of(std::begin(kKnown), std::end(kKnown),
                                 [&](const Known& k) { return wanted == k.name; });
  throw core::UsageError(known ? "this CPU lacks the instruction set \"" + wanted + "\""
                               : "unknown instruction set \"" + wanted + "\" for backend simd",
                         "available here: " + names(levels) +
                             "; leave run/isa and ISARIBI_ISA unset to take the fastest");
}

}  // namespace isaribi::simd
