// SPDX-License-Identifier: MIT
#include "machine.hpp"

#include <algorithm>
#include <fstream>
#include <map>

#include "core/tensor.hpp"
#include "core/timer.hpp"

namespace isaribi::perf {

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  std::map<std::string, std::string> fields;
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    if (colon + 2 <= line.size()) fields.emplace(key, line.substr(colon + 2));
  }
  if (fields.empty()) return "unknown CPU";
  return fields["model name"] + " (family " + fields["cpu family"] + ", model " + fields["model"] +
         ")";
}

double memory_gbs() {
  constexpr std::int64_t kCount = 32 << 20;  // 128 MiB each
  const core::Tensor a({kCount}, core::DType::f32), b({kCount}, core::DType::f32),
      c({kCount}, core::DType::f32);
  float *pa = a.data<float>(), *pb = b.data<float>(), *pc = c.data<float>();
  double best = 1e30;
  for (int repeat = 0; repeat < 6; ++repeat) {
    const double start = core::now_seconds();
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < kCount; ++i) {
      pa[i] = repeat == 0 ? 1.0f : pb[i] + pc[i];
      if (repeat == 0) pb[i] = pc[i] = 1.0f;
    }
    if (repeat > 0) best = std::min(best, core::now_seconds() - start);
  }
  return 3.0 * static_cast<double>(a.bytes()) / best * 1e-9;
}

}  // namespace isaribi::perf
