// SPDX-License-Identifier: MIT
// Cases of products of Kronecker form: alone, of several layers, and from gathered operands.
#include <fmt/format.h>

#include "backends/selftest/case.hpp"

namespace isaribi::selftest {
namespace {

using core::DType;

/// Layers of (M, N) and, of each, the widths of the parts that get the columns of Y; whether X is
/// gathered from such parts.
struct KroneckerLayer {
  std::int64_t m, n;
  std::vector<std::int64_t> parts;
  bool gathered = false;
};

void add_kronecker_case(CaseList& list, DType type, const std::vector<KroneckerLayer>& layers) {
  std::string text;
  for (const KroneckerLayer& l : layers)
    text += fmt::format("{}{} x {}, {} parts{}", text.empty() ? "" : "; ", l.m, l.n, l.parts.size(),
                        l.gathered ? ", gathered" : "");
  list.add(api::Op::kronecker, type, text, [=](Trial& t) {
    std::vector<api::KroneckerProduct> products;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto& [m, n, parts, gathered] = layers[i];
      const Bound bound = Bound::absolute(type, m + n);
      const auto name = [&](const char* what) { return fmt::format("{} {}", what, i); };
      api::KroneckerProduct p{
          .left = t.in(name("left"), {m, m}, type),
          .x = gathered ? t.out(name("x"), {m, n}, type, bound) : t.in(name("x"), {m, n}, type),
          .right = t.in(name("right"), {n, n}, type),
          .half = t.backend().make({m, n}, type),
          .y = parts.empty() ? t.out(name("y"), {m, n}, type, bound)
                             : t.backend().make({m, n}, type)};
      for (const std::int64_t width : parts) {
        p.parts.push_back(t.out(name("part"), {m, width}, type, bound));
        if (!gathered) continue;
        p.gather.y = p.x;
        p.gather.parts.push_back(t.in(name("gradient"), {m, width}, DType::f64));
        p.gather.addends.push_back(t.in(name("weight"), {m, width}, type));
        p.gather.scales.push_back(t.scalar(0.25));
      }
      products.push_back(std::move(p));
    }
    const auto plan = t.backend().plan_kronecker(std::move(products));
    for (int turn = 0; turn < 2; ++turn) plan->run();  // which adds nothing to the first one
    for (std::size_t i = 0; i < layers.size(); ++i)
      t.result(fmt::format("inner product {}", i), plan->products()[i].inner,
               Bound::absolute(type, layers[i].m + layers[i].n));
  });
}

}  // namespace

void add_kronecker_cases(CaseList& list) {
  for (const DType type : kRealTypes) {
    for (const KroneckerLayer& l : std::vector<KroneckerLayer>{{1, 1, {}},
                                                               {3, 5, {5}},
                                                               {0, 4, {4}},
                                                               {6, 26, {25, 1}},
                                                               {16, 151, {150, 1}},
                                                               {84, 121, {60, 0, 61}},
                                                               {120, 401, {400, 1}},
                                                               {300, 40, {40}},
                                                               {700, 20, {19, 1}},
                                                               {64, 600, {}},
                                                               {0, 5, {4, 1}, true},
                                                               {16, 151, {150, 1}, true},
                                                               {120, 401, {400, 1}, true},
                                                               {700, 20, {20}, true}})
      add_kronecker_case(list, type, {l});
    add_kronecker_case(list, type,
                       {{6, 26, {25, 1}, true},
                        {120, 401, {400, 1}, true},
                        {10, 85, {84, 1}},
                        {700, 20, {19, 1}, true},
                        {90, 130, {}}});
    add_kronecker_case(list, type, {});
  }
}

}  // namespace isaribi::selftest
