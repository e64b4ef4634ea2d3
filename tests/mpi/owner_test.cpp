// SPDX-License-Identifier: MIT
// Sums onto owners, shares from owners, and the plan that is made of both: exact integers, every
// wire type, bytes by the formulas.
#include <algorithm>

#include "comm/owner_exchange.hpp"
#include "comm/reduction_plan.hpp"
#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;

namespace {

double value_of(std::int64_t i, int rank, int item) {
  return static_cast<double>((i * 7 + rank * 3 + item) % 16);
}

template <typename T>
core::Tensor filled(std::int64_t count, int rank, int item) {
  core::Tensor t({count}, core::dtype_of<T>);
  for (std::int64_t i = 0; i < count; ++i) t.data<T>()[i] = static_cast<T>(value_of(i, rank, item));
  return t;
}

template <typename T>
void sums_arrive(Communicator& world, core::DType wire, std::size_t bucket) {
  comm::OwnerReducer reducer(world, bucket);
  const std::int64_t counts[] = {0, 1, 5, 64, 1000, 3};
  std::vector<core::Tensor> items;
  std::int64_t total = 0, mine = 0;
  for (int k = 0; k < 12; ++k) {
    items.push_back(filled<T>(counts[k % 6], world.rank(), k));
    const int owner = k * 5 % world.size();
    reducer.add(items.back(), owner, wire);
    total += counts[k % 6];
    if (owner == world.rank()) mine += counts[k % 6];
  }
  reducer.finish();
  for (int k = 0; k < 12; ++k) {
    const core::Tensor& t = items[static_cast<std::size_t>(k)];
    const bool owned = k * 5 % world.size() == world.rank();
    for (std::int64_t i = 0; i < t.count(); ++i) {
      double expected = owned ? 0 : value_of(i, world.rank(), k);
      for (int r = 0; owned && r < world.size(); ++r) expected += value_of(i, r, k);
      expect_equal(static_cast<double>(t.data<T>()[i]), expected, "item " + std::to_string(k));
    }
  }
  const auto width = static_cast<std::int64_t>(core::size_of(wire));
  if (world.size() == 1) return expect_equal(reducer.bytes_sent(), std::int64_t{0});
  expect_equal(reducer.bytes_sent(), width * (total - mine), "bytes of this rank");
  expect_equal(world.all_reduce(reducer.bytes_sent(), comm::ReduceOp::sum),
               width * total * (world.size() - 1), "bytes of all ranks: n (P - 1)");
}

void reduce(Communicator& world) {
  for (const std::size_t bucket : {std::size_t{1}, std::size_t{300}, std::size_t{1} << 20}) {
    for (const core::DType wire :
         {core::DType::f32, core::DType::bf16, core::DType::f16}) {  // small integers are exact
      sums_arrive<double>(world, wire, bucket);
      sums_arrive<float>(world, wire, bucket);
    }
    sums_arrive<double>(world, core::DType::f64, bucket);
  }
}

void share(Communicator& world) {
  std::vector<comm::Owned> items;
  std::int64_t own = 0;
  for (int k = 0; k < 7; ++k) {
    const int owner = k * 3 % world.size();
    const core::Tensor t = k % 2 == 0 ? filled<double>(k * 11, world.rank(), k)
                                      : filled<float>(k * 11, world.rank(), k);
    items.push_back({t, owner});
    if (owner == world.rank()) own += static_cast<std::int64_t>(t.bytes());
  }
  const std::int64_t sent = comm::share_owned(world, items);
  for (int k = 0; k < 7; ++k) {
    const core::Tensor& t = items[static_cast<std::size_t>(k)].tensor;
    for (std::int64_t i = 0; i < t.count(); ++i) {
      const double got = k % 2 == 0 ? t.data<double>()[i] : static_cast<double>(t.data<float>()[i]);
      expect_equal(got, value_of(i, k * 3 % world.size(), k));
    }
  }
  expect_equal(sent, own * (world.size() - 1), "bytes");
}

void scatter_gradients(Communicator& world) {
  const std::int64_t count = 1000;
  const core::Tensor flat = filled<double>(count, world.rank(), 0);
  const int last = world.size() - 1;
  comm::ScatterReducer reducer(world, flat, {{0, 300, last}, {300, 301, 0}, {301, count, last}},
                               64);
  for (int step = 0; step < 2; ++step) {
    std::copy_n(filled<double>(count, world.rank(), step).data<double>(), count,
                flat.data<double>());
    reducer.ready(0, 450);
    reducer.progress();
    reducer.ready(450, count);
    reducer.finish();
    for (std::int64_t i = 0; i < count; ++i) {
      if ((i == 300 ? 0 : last) != world.rank()) continue;
      double expected = 0;
      for (int r = 0; r < world.size(); ++r) expected += value_of(i, r, step);
      expect_equal(flat.data<double>()[i], expected);
    }
  }
  expect_equal(reducer.stats().steps, 2);
}

// Numbers whose sum depends on the order: the plan must add them as one rank after the other does.
void rank_order(Communicator& world) {
  const auto plan = comm::make_allreduce_plan("rank_order", world);
  for (const std::int64_t count : {0, 1, 5, 1000}) {
    const core::Tensor t({count}, core::DType::f64);
    // From rank 0 on the small number drowns, from the other end it survives.
    const auto part = [](std::int64_t i, int r) {
      return r == 0 ? 1.0 + static_cast<double>(i % 7) : r % 2 == 1 ? 1e17 : -1e17;
    };
    for (std::int64_t i = 0; i < count; ++i) t.data<double>()[i] = part(i, world.rank());
    plan->start(t).wait();
    for (std::int64_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < world.size(); ++r) expected += part(i, r);
      expect_equal(t.data<double>()[i], expected, "sum in rank order");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"sums arrive at their owners", reduce},
                    {"owners share", share},
                    {"gradients reach their owners", scatter_gradients},
                    {"sums in rank order", rank_order}});
}
