// SPDX-License-Identifier: MIT
// What the tests of simd under several threads share: operands, equality of bits, every instruction
// set, several numbers of threads.
#pragma once

#include <omp.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backends/api/registry.hpp"
#include "backends/reference/register.hpp"
#include "backends/simd/register.hpp"
#include "catch.hpp"

namespace isaribi::testing {

inline core::Tensor waves(const core::Shape& shape, double step) {
  core::Tensor t(shape, core::DType::f32);
  for (std::int64_t i = 0; i < t.count(); ++i)
    t.data<float>()[i] = static_cast<float>(std::sin(step * static_cast<double>(i)));
  return t;
}

inline bool same_bits(const core::Tensor& a, const core::Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Everything that `run` writes with one thread and with more.
template <class Run>
void compare_threads(const std::string& what, const Run& run) {
  std::vector<core::Tensor> first;
  for (const int threads : {1, 2, 3, 4}) {
    omp_set_num_threads(threads);
    const std::vector<core::Tensor> results = run();
    if (threads == 1) first = results;
    for (std::size_t i = 0; i < results.size(); ++i) {
      INFO(what << ", result " << i << ", " << threads << " threads");
      CHECK(same_bits(results[i], first[i]));
    }
  }
}

/// f(backend, name) for every instruction set of this CPU.
template <class F>
void for_each_level(const F& f) {
  core::Log log(1);
  api::Registry registry;
  reference::register_backend(registry);
  simd::register_backend(registry);
  for (const api::Entry& entry : registry.entries()) {
    if (entry.name == "simd" && !entry.why_unusable().empty()) return;
  }
  for (const std::string& isa : registry.choices("simd", {}).isa_levels)
    f(*registry.create("simd", {.isa = isa}, log), isa);
}

}  // namespace isaribi::testing
