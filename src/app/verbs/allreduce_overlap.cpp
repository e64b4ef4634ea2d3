// SPDX-License-Identifier: MIT
#include "app/verbs/allreduce_overlap.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "comm/allreduce/plan_choice.hpp"
#include "comm/bucket_reducer.hpp"
#include "core/timer.hpp"

namespace isaribi::app {
namespace {

constexpr std::int64_t kBucket = std::int64_t{4} << 20;
constexpr std::int64_t kWork = 4096;         // elements that a pass of the computation goes over
constexpr std::int64_t kTrialPasses = 2000;  // passes that tell how long one takes
constexpr double kTrialSeconds = 0.5;
constexpr int kRepetitions = 5;

/// Collective: seconds of the slowest rank.
double time_of(comm::Communicator& comm, const std::function<void()>& work) {
  comm.barrier();
  const double start = core::now_seconds();
  work();
  return comm.all_reduce(core::now_seconds() - start, comm::ReduceOp::max);
}

/// A backward pass of so many layers that only computes: a fixed number of passes over data in the
/// first cache level, so that whatever takes the core away makes it longer.
class Computation {
 public:
  explicit Computation(int layers) : layers_(layers) {}

  /// Collective: as many passes as take `seconds` when all ranks compute at once.
  void calibrate(comm::Communicator& comm, double seconds) {
    passes_ = kTrialPasses;
    for (const double target : {std::min(seconds, kTrialSeconds), seconds, seconds})
      scale(target / time_of(comm, [&] { run({}); }));
  }
  /// So many times as much work.
  void scale(double factor) {
    passes_ = std::max<std::int64_t>(
        static_cast<std::int64_t>(static_cast<double>(passes_) * factor), layers_);
  }
  /// Calls `after(l)` when layer l = 1, 2, .. is done.
  void run(const std::function<void(int)>& after) {
    for (int l = 1; l <= layers_; ++l) {
      for (std::int64_t p = passes_ * (l - 1) / layers_; p < passes_ * l / layers_; ++p) {
        for (float& x : data_) x = 0.5F * x + 1.0F;
      }
      if (after) after(l);
    }
  }
  float result() const { return data_.front(); }

 private:
  int layers_;
  std::int64_t passes_ = 0;
  std::vector<float> data_ = std::vector<float>(kWork, 1.0F);
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

}  // namespace

void measure_overlap(comm::Communicator& comm, comm::AllReducePlan& plan,
                     const comm::ProgressThread* thread, std::int64_t bytes, int layers,
                     core::Log& log) {
  const core::Tensor gradients = core::Tensor::zeros({bytes / 4}, core::DType::f32);
  comm::BucketReducer reducer(comm, plan, gradients, static_cast<std::size_t>(kBucket));
  const auto sum_alone = [&] { return time_of(comm, [&] { reducer.finish(); }); };
  Computation backward(layers);
  sum_alone();
  backward.calibrate(comm, sum_alone());
  std::vector<double> sum, computation, both, waited, hidden;
  double cpu = 0;
  // In turns, and each time by itself: what disturbs the machine disturbs all three.
  for (int i = 0; i < kRepetitions; ++i) {
    sum.push_back(sum_alone());
    if (i > 0) backward.scale(sum.back() / computation.back());
    computation.push_back(time_of(comm, [&] { backward.run({}); }));
    const double before = thread == nullptr ? 0 : thread->cpu_seconds();
    double computed = 0;
    const double begun = core::now_seconds();
    both.push_back(time_of(comm, [&] {
      backward.run([&](int l) {
        reducer.ready(gradients.count() * (l - 1) / layers, gradients.count() * l / layers);
      });
      computed = core::now_seconds() - begun;
      reducer.finish();
    }));
    waited.push_back(both.back() - comm.all_reduce(computed, comm::ReduceOp::max));
    hidden.push_back(100 * std::max(1 - (both.back() - computation.back()) / sum.back(), 0.0));
    if (thread != nullptr) cpu += thread->cpu_seconds() - before;
  }
  cpu = comm.all_reduce(cpu / kRepetitions, comm::ReduceOp::max);
  log.info(
      "\noverlap of {} in buckets of {} with {} layers, {}: sum alone {:.1f} ms, computation "
      "{:.1f} ms, both {:.1f} ms, of which {:.1f} ms after the computation: {:.0f} % hidden "
      "(medians "
      "of {}, slowest rank){}{}",
      comm::bytes_to_text(bytes), comm::bytes_to_text(kBucket), layers, plan.description(),
      1e3 * median(sum), 1e3 * median(computation), 1e3 * median(both), 1e3 * median(waited),
      median(hidden), kRepetitions,
      thread == nullptr
          ? std::string()
          : fmt::format("; the thread took {:.1f} ms of processor time a step", 1e3 * cpu),
      backward.result() < 0 ? " " : "");
}

}  // namespace isaribi::app
