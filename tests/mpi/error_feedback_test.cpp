// SPDX-License-Identifier: MIT
// Error feedback: what a narrow wire rounds off comes back with the next sum, so that over time
// nothing is lost. The check is exact: sums delivered so far, plus all residuals, are the sums of
// what was given; from it follows that the average of constant gradients converges like 1 / steps.
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "comm/allreduce/schedule_runner.hpp"
#include "comm/bucket_reducer.hpp"
#include "harness.hpp"
#include "runner_plan.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;
using comm::Exchange;
using comm::HierarchyLevel;
using comm::RankOrder;
using core::DType;

namespace {

constexpr std::int64_t kCount = 1003;

/// No type of 16 bits holds it.
double gradient(std::int64_t i, int rank) {
  return std::sin(1.0 + static_cast<double>(i) + 0.7 * rank) / 3;
}

double exact(std::int64_t i, int ranks) {
  double sum = 0;
  for (int r = 0; r < ranks; ++r) sum += gradient(i, r);
  return sum;
}

struct Setting {
  std::vector<HierarchyLevel> levels;
  int first_wire_level;
  DType type, wire;
};

std::string to_text(const Setting& s) {
  return comm::to_text(s.levels) + " " + std::string(core::name_of(s.type)) + " as " +
         std::string(core::name_of(s.wire)) + " from level " + std::to_string(s.first_wire_level);
}

std::vector<Setting> settings(int ranks) {
  std::vector<std::vector<HierarchyLevel>> all{{{Exchange::direct, ranks}},
                                               {{Exchange::ring, ranks}}};
  for (const Exchange outer : {Exchange::direct, Exchange::ring})
    all.push_back({{Exchange::direct, 2}, {outer, (ranks + 1) / 2}});
  all.push_back({{Exchange::direct, 2}, {Exchange::direct, 2}, {Exchange::ring, (ranks + 3) / 4}});
  std::vector<Setting> list;
  for (const auto& levels : all) {
    for (int first = 0; first < static_cast<int>(levels.size()); ++first) {
      for (const DType type : {DType::f32, DType::f64}) {
        for (const DType wire : {DType::bf16, DType::f16})
          list.push_back({levels, first, type, wire});
      }
    }
  }
  return list;
}

/// `steps` sums of the same gradients, added up in f64.
std::vector<double> add_up(Communicator& world, const Setting& s, int steps,
                           const core::Tensor& residual) {
  comm::ScheduleOptions options{.segment_bytes = 1000, .wire = s.wire};
  options.first_wire_level = s.first_wire_level;
  comm::ScheduleRunner runner(world, RankOrder::flat(world.size()), s.levels, options);
  const core::Tensor x({kCount}, s.type);
  std::vector<double> total(kCount, 0.0);
  for (int step = 0; step < steps; ++step) {
    for (std::int64_t i = 0; i < kCount; ++i) {
      const double g = gradient(i, world.rank());
      s.type == DType::f64 ? x.data<double>()[i] = g : x.data<float>()[i] = static_cast<float>(g);
    }
    runner.start(x, residual).wait();
    for (std::int64_t i = 0; i < kCount; ++i) {
      total[static_cast<std::size_t>(i)] +=
          s.type == DType::f64 ? x.data<double>()[i] : static_cast<double>(x.data<float>()[i]);
    }
  }
  return total;
}

/// Largest distance of the average from the exact sum.
double error_of(const std::vector<double>& total, int steps, int ranks) {
  double worst = 0;
  for (std::size_t i = 0; i < total.size(); ++i) {
    worst =
        std::max(worst, std::abs(total[i] / steps - exact(static_cast<std::int64_t>(i), ranks)));
  }
  return worst;
}

void nothing_is_lost(Communicator& world) {
  const int ranks = world.size();
  for (const Setting& s : settings(ranks)) {
    constexpr int kSteps = 7;
    const core::Tensor residual = core::Tensor::zeros({kCount}, DType::f32);
    const std::vector<double> total = add_up(world, s, kSteps, residual);
    const core::Tensor owed = core::Tensor::zeros({kCount}, DType::f64);
    std::int64_t rounded = 0;
    for (std::int64_t i = 0; i < kCount; ++i) {
      owed.data<double>()[i] = static_cast<double>(residual.data<float>()[i]);
      rounded += residual.data<float>()[i] != 0 ? 1 : 0;
    }
    world.all_reduce(owed, comm::ReduceOp::sum);
    // What f32 itself rounds in additions, or in residuals of f64.
    const double tolerance = (s.type == DType::f64 ? 1e-9 : 1e-6) * kSteps * ranks;
    for (std::int64_t i = 0; i < kCount; ++i) {
      const double lost = kSteps * exact(i, ranks) - total[static_cast<std::size_t>(i)];
      expect(std::abs(lost - owed.data<double>()[i]) < tolerance,
             to_text(s) + ": element " + std::to_string(i) + " lost " + std::to_string(lost) +
                 ", residuals hold " + std::to_string(owed.data<double>()[i]));
    }
    // A rank rounds its part of the first narrow level and no more: each element once per group of
    // the levels below.
    rounded = world.all_reduce(rounded, comm::ReduceOp::sum);
    int groups = ranks;
    for (int l = 0; l < s.first_wire_level; ++l)
      groups = (groups + s.levels[static_cast<std::size_t>(l)].size - 1) /
               s.levels[static_cast<std::size_t>(l)].size;
    expect(rounded > kCount * groups / 2 && rounded <= kCount * groups,
           to_text(s) + ": " + std::to_string(rounded) + " roundings of " +
               std::to_string(kCount * groups));
  }
}

void averages_converge(Communicator& world) {
  const int ranks = world.size();
  for (const Setting& s : settings(ranks)) {
    if (s.type != DType::f32 || s.wire != DType::bf16) continue;
    const core::Tensor residual = core::Tensor::zeros({kCount}, DType::f32);
    const double without_2 = error_of(add_up(world, s, 2, {}), 2, ranks);
    const double without_64 = error_of(add_up(world, s, 64, {}), 64, ranks);
    const double with_64 = error_of(add_up(world, s, 64, residual), 64, ranks);
    expect(std::abs(without_64 / without_2 - 1) < 1e-3, to_text(s) + ": without it a bias stays");
    // After n steps at most one rounding per group is owed, of a partial sum below ranks / 3.
    expect(with_64 <= ranks * (ranks / 3.0) * 0x1p-8 / 64 + 1e-6 * ranks,
           to_text(s) + ": converges, error " + std::to_string(with_64));
    expect(with_64 < without_64 / 8,
           to_text(s) + ": " + std::to_string(with_64) + " against " + std::to_string(without_64));
  }
}

/// Through buckets, and from where another reducer stopped: the same bits.
void buckets_keep_their_residuals(Communicator& world) {
  const int ranks = world.size();
  RunnerPlan plan(world, {{Exchange::direct, world.size()}},
                  {.segment_bytes = 300, .wire = DType::bf16});
  const core::Tensor flat({kCount}, DType::f32);
  const auto steps = [&](comm::BucketReducer& reducer, int count, std::vector<double>& total) {
    for (int step = 0; step < count; ++step) {
      for (std::int64_t i = 0; i < kCount; ++i)
        flat.data<float>()[i] = static_cast<float>(gradient(i, world.rank()));
      reducer.ready(0, 500);
      reducer.finish();
      for (std::int64_t i = 0; i < kCount; ++i)
        total[static_cast<std::size_t>(i)] += static_cast<double>(flat.data<float>()[i]);
    }
  };
  std::vector<double> whole(kCount, 0.0), parts(kCount, 0.0), biased(kCount, 0.0);
  comm::BucketReducer reducer(world, plan, flat, 600, true), first(world, plan, flat, 600, true),
      second(world, plan, flat, 600, true), without(world, plan, flat, 600);
  steps(reducer, 64, whole);
  steps(first, 20, parts);
  const float* held = first.residual().data<float>();
  std::copy(held, held + kCount, second.residual().data<float>());
  steps(second, 44, parts);
  steps(without, 64, biased);
  expect(!without.residual().defined(), "no residual unless asked for");
  expect(whole == parts, "a residual carried over gives the same bits");
  expect(error_of(whole, 64, ranks) < error_of(biased, 64, ranks) / 8, "converges in buckets");
}

void values_beyond_the_wire_leave_nothing(Communicator& world) {
  const Setting s{{{Exchange::direct, world.size()}}, 0, DType::f32, DType::f16};
  comm::ScheduleOptions options{.wire = s.wire};
  comm::ScheduleRunner runner(world, RankOrder::flat(world.size()), s.levels, options);
  const core::Tensor x({64}, DType::f32), residual = core::Tensor::zeros({64}, DType::f32);
  for (const float value : {1e30F, INFINITY, NAN, 0.5F}) {
    std::fill_n(x.data<float>(), x.count(), value);
    runner.start(x, residual).wait();
    for (std::int64_t i = 0; i < x.count(); ++i) {
      expect_equal(residual.data<float>()[i], 0.0F, "residual of a value that does not fit");
      if (value == 0.5F) expect_equal(x.data<float>()[i], 0.5F * static_cast<float>(world.size()));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(
      argc, argv,
      {{"nothing is lost", nothing_is_lost},
       {"averages converge", averages_converge},
       {"buckets keep their residuals", buckets_keep_their_residuals},
       {"values beyond the wire leave nothing", values_beyond_the_wire_leave_nothing}});
}
