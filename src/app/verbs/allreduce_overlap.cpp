// SPDX-License-Identifier: MIT
#include "app/verbs/allreduce_overlap.hpp"

#include <algorithm>

#include "comm/allreduce/tuner.hpp"
#include "comm/bucket_reducer.hpp"
#include "core/timer.hpp"

namespace isaribi::app {
namespace {

constexpr std::int64_t kBucket = std::int64_t{4} << 20;
constexpr std::int64_t kWork = 4096;  // elements that a stretch of computation goes over

/// Arithmetic that keeps this rank's core busy for so long; the result keeps it from being left
/// out.
double compute_for(double seconds, std::vector<float>& data) {
  const double end = core::now_seconds() + seconds;
  double sum = 0;
  while (core::now_seconds() < end) {
    for (float& x : data) x = 0.5F * x + 1.0F;
    sum += data.front();
  }
  return sum;
}

}  // namespace

void measure_overlap(comm::Communicator& comm, comm::AllReducePlan& plan, std::int64_t bytes,
                     int layers, core::Log& log) {
  const core::Tensor gradients = core::Tensor::zeros({bytes / 4}, core::DType::f32);
  comm::BucketReducer reducer(comm, plan, gradients, static_cast<std::size_t>(kBucket));
  const comm::TimingLimits limits{3, 5, 10};
  const double alone = comm::time_together(comm, limits, [&] { reducer.finish(); }).median;
  std::vector<float> data(kWork, 1.0F);
  double sink = 0;
  const auto step = [&](bool communicate) {
    for (int l = 1; l <= layers; ++l) {
      sink += compute_for(alone / layers, data);
      if (communicate) {
        reducer.ready(gradients.count() * (l - 1) / layers, gradients.count() * l / layers);
      }
    }
    if (communicate) reducer.finish();
  };
  const double computation = comm::time_together(comm, limits, [&] { step(false); }).median;
  const double all = comm::time_together(comm, limits, [&] { step(true); }).median;
  const double overlap = 1 - std::max(all - computation, 0.0) / alone;
  log.info(
      "\noverlap of {} in buckets of {} with {} layers: sum alone {:.1f} ms, computation {:.1f} "
      "ms, both {:.1f} ms: {:.0f} % hidden{}",
      comm::bytes_to_text(bytes), comm::bytes_to_text(kBucket), layers, 1e3 * alone,
      1e3 * computation, 1e3 * all, 100 * std::max(overlap, 0.0), sink < 0 ? " " : "");
}

}  // namespace isaribi::app
