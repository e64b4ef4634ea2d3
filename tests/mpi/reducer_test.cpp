// SPDX-License-Identifier: MIT
// Gradient buckets against a plain sum, for awkward bucket sizes and ways of announcing.
#include <algorithm>

#include "comm/bucket_reducer.hpp"
#include "comm/reduction_plan.hpp"
#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::BucketReducer;
using comm::Communicator;

namespace {

template <typename T>
void fill(const core::Tensor& t, int rank, int step) {
  for (std::int64_t i = 0; i < t.count(); ++i) {
    t.data<T>()[i] = static_cast<T>((i * 13 + rank * 5 + step) % 101);
  }
}

template <typename T>
void expect_sums(const core::Tensor& t, int ranks, int step) {
  for (std::int64_t i = 0; i < t.count(); ++i) {
    T sum = 0;
    for (int r = 0; r < ranks; ++r) sum += static_cast<T>((i * 13 + r * 5 + step) % 101);
    expect_equal(t.data<T>()[i], sum, "gradient " + std::to_string(i));
  }
}

template <typename T>
void sums_of(Communicator& world, std::int64_t count, std::size_t bucket_bytes) {
  const auto plan = comm::make_allreduce_plan("mpi", world);
  const core::Tensor flat({count}, core::dtype_of<T>);
  BucketReducer reducer(world, *plan, flat, bucket_bytes);
  for (int step = 0; step < 3; ++step) {
    fill<T>(flat, world.rank(), step);
    const std::int64_t stride = 1 + count / (3 + step);  // layers of another size each step
    for (std::int64_t begin = 0; begin < count; begin += stride) {
      reducer.ready(begin, std::min(begin + stride, count));
      reducer.progress();
    }
    reducer.finish();
    expect_sums<T>(flat, world.size(), step);
  }
  expect_equal(reducer.stats().steps, 3);
  const auto bytes = static_cast<std::int64_t>(3 * flat.bytes());
  expect_equal(reducer.stats().bytes, world.size() == 1 ? 0 : bytes, "bytes");
}

void equal_to_direct_sum(Communicator& world) {
  for (const std::int64_t count : {0, 1, 7, 1000, 4099}) {
    for (const std::size_t bucket : {0, 1, 64, 1000, 8192, 1 << 20}) {
      sums_of<double>(world, count, count > 1000 ? std::max<std::size_t>(bucket, 64) : bucket);
    }
    sums_of<float>(world, count, 512);
  }
}

void sends_before_the_end(Communicator& world) {
  const auto plan = comm::make_allreduce_plan("mpi", world);
  const core::Tensor flat = core::Tensor::zeros({4096}, core::DType::f32);
  BucketReducer reducer(world, *plan, flat, 4096);
  expect_equal(reducer.bucket_count(), std::size_t{4});
  const bool alone = world.size() == 1;
  reducer.ready(0, 1023);
  expect_equal(reducer.stats().buckets, 0, "one element is missing");
  reducer.ready(1023, 2100);
  expect_equal(reducer.stats().buckets, alone ? 0 : 2, "two buckets are on their way");
  reducer.finish();
  expect_equal(reducer.stats().buckets, alone ? 0 : 4);
  expect(reducer.stats().in_flight_seconds >= 0 && reducer.stats().exposed_seconds > 0, "times");
}

void a_gap_is_an_error(Communicator& world) {
  const auto plan = comm::make_allreduce_plan("mpi", world);
  BucketReducer reducer(world, *plan, core::Tensor::zeros({10}, core::DType::f32), 8);
  bool refused = false;
  try {
    reducer.ready(2, 4);
  } catch (const core::InternalError& error) {
    refused = true;
    expect_in("begins at 0", error.cause());
  }
  expect(refused, "a gap is refused");
  reducer.finish();
}

void unknown_plans_are_named(Communicator& world) {
  bool refused = false;
  try {
    comm::make_allreduce_plan("warp", world);
  } catch (const core::UsageError& error) {
    refused = true;
    expect_in("warp", error.cause());
    expect_in("mpi", error.hint());
  }
  expect(refused, "an unknown plan is refused");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"buckets equal the direct sum", equal_to_direct_sum},
                    {"buckets leave before the end", sends_before_the_end},
                    {"a gap is an error", a_gap_is_an_error},
                    {"unknown plans are named", unknown_plans_are_named}});
}
