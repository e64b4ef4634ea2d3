// SPDX-License-Identifier: MIT
// Sums onto owners, shares from owners, directly and along routes, and the plan that is made of
// both: exact integers, every wire type, bytes by the formulas, the same bits whoever owns what.
#include <algorithm>
#include <cstring>

#include "comm/owner_exchange.hpp"
#include "comm/reduction_plan.hpp"
#include "harness.hpp"
#include "routes.hpp"

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
void sums_arrive(Communicator& world, core::DType wire, std::size_t bucket,
                 comm::OwnerRoute* route) {
  comm::OwnerReducer reducer(world, bucket, route);
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

void reduce_by(Communicator& world, comm::OwnerRoute* route) {
  for (const std::size_t bucket : {std::size_t{1}, std::size_t{300}, std::size_t{1} << 20}) {
    for (const core::DType wire :
         {core::DType::f32, core::DType::bf16, core::DType::f16}) {  // small integers are exact
      sums_arrive<double>(world, wire, bucket, route);
      sums_arrive<float>(world, wire, bucket, route);
    }
    sums_arrive<double>(world, core::DType::f64, bucket, route);
  }
}

void reduce(Communicator& world) {
  reduce_by(world, nullptr);
}

void reduce_along(Communicator& world) {
  for (const char* segment : {"", "/1K"}) {
    comm::TunedRoute route = route_of(world, levels(world, "direct") + segment);
    expect(route.sums(100), "direct exchanges take sums");
    reduce_by(world, &route);
  }
  comm::TunedRoute ring = route_of(world, "ring" + std::to_string(world.size()));
  expect(ring.sums(100) == (world.size() <= 2), "a ring's order of sums depends on owners");
  reduce_by(world, &ring);
  comm::TunedRoute library = route_of(world, "mpi");
  expect(!library.sums(100) && !library.copies(100), "no route");
  reduce_by(world, &library);
}

// Fractions, so that another order of sums, or one rounding more or less, would show.
void owners_change_no_bits(Communicator& world) {
  const std::string plans[] = {levels(world, "direct"), "direct" + std::to_string(world.size()),
                               "ring" + std::to_string(world.size())};
  for (const std::string& plan : plans) {
    comm::TunedRoute route = route_of(world, plan);
    for (const core::DType wire : {core::DType::f64, core::DType::f32, core::DType::bf16}) {
      std::vector<std::vector<comm::Owned>> results;
      for (const int shift : {0, 1, 3}) {
        comm::OwnerReducer reducer(world, 300, &route);
        results.emplace_back();
        for (int k = 0; k < 6; ++k) {
          const core::Tensor t({1 + 37 * k}, core::DType::f64);
          for (std::int64_t i = 0; i < t.count(); ++i)
            t.data<double>()[i] = 1.0 / static_cast<double>(1 + (i * 31 + world.rank() * 17) % 101);
          results.back().push_back({t, (k + shift) % world.size()});
          reducer.add(t, results.back().back().owner, wire);
        }
        reducer.finish();
        comm::share_owned(world, results.back(), &route);
      }
      for (const auto& other : results) {
        for (std::size_t k = 0; k < other.size(); ++k) {
          const core::Tensor &a = results.front()[k].tensor, &b = other[k].tensor;
          expect(std::memcmp(a.raw(), b.raw(), a.bytes()) == 0,
                 plan + ": other owners, other bits");
        }
      }
    }
  }
}

void share_by(Communicator& world, comm::OwnerRoute* route) {
  std::vector<comm::Owned> items;
  std::int64_t own = 0;
  for (int k = 0; k < 7; ++k) {
    const int owner = k * 3 % world.size();
    const core::Tensor t = k % 2 == 0 ? filled<double>(k * 11, world.rank(), k)
                                      : filled<float>(k * 11, world.rank(), k);
    items.push_back({t, owner});
    if (owner == world.rank()) own += static_cast<std::int64_t>(t.bytes());
  }
  const std::int64_t sent = comm::share_owned(world, items, route);
  for (int k = 0; k < 7; ++k) {
    const core::Tensor& t = items[static_cast<std::size_t>(k)].tensor;
    for (std::int64_t i = 0; i < t.count(); ++i) {
      const double got = k % 2 == 0 ? t.data<double>()[i] : static_cast<double>(t.data<float>()[i]);
      expect_equal(got, value_of(i, k * 3 % world.size(), k));
    }
  }
  expect_equal(sent, own * (world.size() - 1), "bytes");
}

void share(Communicator& world) {
  share_by(world, nullptr);
}

void share_along(Communicator& world) {
  for (const char* exchange : {"direct", "ring"}) {
    for (const char* segment : {"", "/200"}) {
      comm::TunedRoute route = route_of(world, levels(world, exchange) + segment);
      expect(route.copies(100), "every exchange takes copies");
      share_by(world, &route);
    }
  }
}

/// In place, parts of several lengths, one of them empty.
template <typename T>
void gather_by(Communicator& world, comm::OwnerRoute* route) {
  std::vector<std::int64_t> counts;
  std::int64_t total = 0, first = 0;
  for (int r = 0; r < world.size(); ++r) {
    if (r == world.rank()) first = total;
    counts.push_back(r == 1 ? 0 : 37 + 100 * r);
    total += counts.back();
  }
  const core::Tensor all = core::Tensor::zeros({total}, core::dtype_of<T>);
  const std::int64_t count = counts[static_cast<std::size_t>(world.rank())];
  for (std::int64_t i = 0; i < count; ++i)
    all.data<T>()[first + i] = static_cast<T>(1) / static_cast<T>(3 + first + i);
  comm::start_all_gather_along(route, world, all.slice(first, {count}), counts, all).wait();
  for (std::int64_t i = 0; i < total; ++i)
    expect_equal(all.data<T>()[i], static_cast<T>(1) / static_cast<T>(3 + i), "gathered");
}

void gather(Communicator& world) {
  comm::TunedRoute direct = route_of(world, levels(world, "direct") + "/200");
  comm::TunedRoute library = route_of(world, "mpi");
  for (comm::OwnerRoute* route :
       {static_cast<comm::OwnerRoute*>(nullptr), static_cast<comm::OwnerRoute*>(&direct),
        static_cast<comm::OwnerRoute*>(&library)}) {
    gather_by<float>(world, route);
    gather_by<double>(world, route);
  }
}

// A group of other ranks has no route.
void share_in_a_part(Communicator& world) {
  comm::TunedRoute route = route_of(world, levels(world, "direct"));
  const auto part = world.split(world.rank() % 2);
  share_by(*part, &route);
  comm::OwnerReducer reducer(*part, 100, &route);
  const core::Tensor t = filled<double>(50, 0, 0);
  reducer.add(t, 0, core::DType::f64);
  reducer.finish();
  for (std::int64_t i = 0; part->is_root() && i < 50; ++i)
    expect_equal(t.data<double>()[i], value_of(i, 0, 0) * part->size());
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
                    {"along routes", reduce_along},
                    {"owners change no bits", owners_change_no_bits},
                    {"owners share", share},
                    {"owners share along routes", share_along},
                    {"gathered in place", gather},
                    {"a part of the ranks has no route", share_in_a_part},
                    {"gradients reach their owners", scatter_gradients},
                    {"sums in rank order", rank_order}});
}
