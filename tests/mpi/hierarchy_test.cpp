// SPDX-License-Identifier: MIT
// Every hierarchy of a number of ranks sums every buffer, scatters sums and gathers parts: exact
// integers, every type, wire and cut, uneven groups, in any rank order; equal signatures give equal
// bits; ranks that do not agree say so.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "comm/allreduce/schedule_runner.hpp"
#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;
using comm::Exchange;
using comm::HierarchyLevel;
using comm::RankOrder;
using comm::ScheduleOptions;
using comm::ScheduleRunner;

namespace {

/// Nodes of 1, 3, 2, 2, 1, 3, ... ranks, two nodes a rack, ranks dealt to them backwards.
RankOrder uneven(int ranks) {
  RankOrder order = RankOrder::flat(ranks);
  std::reverse(order.ranks.begin(), order.ranks.end());
  const int sizes[] = {1, 3, 2, 2};
  order.domains.assign(2, {});
  for (int node = 0; static_cast<int>(order.domains[0].size()) < ranks; ++node) {
    for (int i = 0; i < sizes[node % 4]; ++i) {
      order.domains[0].push_back(node);
      order.domains[1].push_back(node / 2);
    }
  }
  for (auto& domain : order.domains) domain.resize(static_cast<std::size_t>(ranks));
  return order;
}

/// Exchanges of even levels, odd levels and the outermost level.
struct Mix {
  Exchange even, odd, outermost;
};
constexpr Mix kMixes[] = {
    {Exchange::ring, Exchange::ring, Exchange::ring},
    {Exchange::direct, Exchange::direct, Exchange::direct},
    {Exchange::ring, Exchange::direct, Exchange::ring},
    {Exchange::shared, Exchange::shared, Exchange::shared},
    {Exchange::shared, Exchange::direct, Exchange::ring},
    {Exchange::library, Exchange::library, Exchange::library},
    {Exchange::shared, Exchange::ring, Exchange::library},
};

std::vector<std::vector<HierarchyLevel>> hierarchies(const RankOrder& order) {
  const int ranks = static_cast<int>(order.ranks.size());
  std::vector<std::vector<int>> sizes = comm::ordered_factorisations(ranks);
  if (ranks == 1) sizes = {{1}};
  sizes.push_back({2, (ranks + 1) / 2});                  // a last group of one
  sizes.push_back({3, 2, std::max((ranks + 3) / 4, 1)});  // as the uneven nodes and racks
  std::vector<std::vector<HierarchyLevel>> all;
  for (const std::vector<int>& s : sizes) {
    for (const auto& [inner, next, outermost] : kMixes) {
      std::vector<HierarchyLevel> levels;
      for (std::size_t l = 0; l < s.size(); ++l) {
        const bool last = l + 1 == s.size();
        levels.push_back({last ? outermost : l % 2 == 0 ? inner : next, s[l]});
      }
      try {
        const comm::Hierarchy fits(order, levels);
        all.push_back(levels);
      } catch (const core::UsageError&) {
        // Sizes that this order does not come together in.
      }
    }
  }
  return all;
}

double value_of(std::int64_t i, int rank) {
  return static_cast<double>((i * 7 + rank * 3) % 8);  // sums of 17 are exact in bf16
}

template <typename T>
void sums(Communicator& world, ScheduleRunner& runner, std::int64_t count) {
  std::vector<T> memory(static_cast<std::size_t>(count) + 2, T(77));  // guards at both ends
  for (std::int64_t i = 0; i < count; ++i) {
    memory[static_cast<std::size_t>(i) + 1] = static_cast<T>(value_of(i, world.rank()));
  }
  runner.start(core::Tensor::borrow(memory.data() + 1, {count}, core::dtype_of<T>)).wait();
  for (std::int64_t i = 0; i < count; ++i) {
    double expected = 0;
    for (int r = 0; r < world.size(); ++r) expected += value_of(i, r);
    const T got = memory[static_cast<std::size_t>(i) + 1];
    if (got != static_cast<T>(expected)) {
      expect_equal(static_cast<double>(got), expected,
                   runner.hierarchy().text() + " element " + std::to_string(i) + " of " +
                       std::to_string(count));
    }
  }
  expect(memory.front() == T(77) && memory.back() == T(77), "elements beside the buffer");
}

void every_plan(Communicator& world) {
  const std::int64_t ranks = world.size();
  for (const RankOrder& order : {RankOrder::flat(world.size()), uneven(world.size())}) {
    for (const auto& levels : hierarchies(order)) {
      for (const std::int64_t segment_bytes : {0, 100, 1000}) {
        ScheduleRunner runner(world, order, levels, {.segment_bytes = segment_bytes});
        for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, ranks - 1, ranks,
                                         std::int64_t{3} * ranks + 1, std::int64_t{997}}) {
          sums<float>(world, runner, count);
          sums<double>(world, runner, count);
          sums<std::int32_t>(world, runner, count);
        }
      }
    }
  }
}

/// Whether the library would have to send a narrow type.
bool library_from(const std::vector<HierarchyLevel>& levels, int first) {
  return std::any_of(levels.begin() + std::min(first, static_cast<int>(levels.size())),
                     levels.end(),
                     [](const HierarchyLevel& l) { return l.exchange == Exchange::library; });
}

void narrow_library(Communicator& world) {
  const std::vector<HierarchyLevel> levels{{Exchange::library, world.size()}};
  try {
    const ScheduleRunner refused(world, RankOrder::flat(world.size()), levels,
                                 {.wire = core::DType::bf16});
  } catch (const core::UsageError& error) {
    expect(std::string(error.what()).find("cannot send bf16") != std::string::npos, error.what());
    return;
  }
  expect(false, "the library is asked to send bf16");
}

using Counts = std::vector<std::int64_t>;

/// Nothing, one element at one rank, P - 1 of them, alike, uneven, primes, all at one rank.
std::vector<Counts> part_counts(std::int64_t ranks) {
  const auto p = static_cast<std::size_t>(ranks);
  std::vector<Counts> all{Counts(p, 0), Counts(p, 0), Counts(p, 1), Counts(p, 16), Counts(p, 0)};
  all[1][p - 1] = 1;
  all[2][p / 2] = 0;
  all[4][p / 3] = 499;
  Counts uneven, primes;
  const std::int64_t prime[] = {13, 101, 2, 31, 7};
  for (std::int64_t r = 0; r < ranks; ++r) {
    uneven.push_back(r * 5 % 7 * 9);
    primes.push_back(prime[r % 5]);
  }
  all.insert(all.end(), {uneven, primes});
  return all;
}

/// A buffer with guards at both ends, in which every rank has its part; the part also beside it.
template <typename T>
struct Parted {
  Parted(const Communicator& world, const Counts& lengths, bool in_place)
      : counts(lengths),
        rank(static_cast<std::size_t>(world.rank())),
        begin(std::accumulate(counts.begin(), counts.begin() + world.rank(), std::int64_t{0})),
        count(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})),
        memory(static_cast<std::size_t>(count) + 2, T(77)),
        apart(static_cast<std::size_t>(counts[rank]) + 1, T(77)),
        all(core::Tensor::borrow(memory.data() + 1, {count}, core::dtype_of<T>)),
        mine(in_place ? all.slice(begin, {counts[rank]})
                      : core::Tensor::borrow(apart.data(), {counts[rank]}, core::dtype_of<T>)) {}
  bool owns(std::int64_t i) const { return i >= begin && i < begin + counts[rank]; }
  void check(std::int64_t i, T got, double expected, const std::string& what) const {
    if (got == static_cast<T>(expected)) return;
    expect_equal(static_cast<double>(got), expected,
                 what + ", element " + std::to_string(i) + " of " + std::to_string(count));
  }
  void check_guards() const {
    expect(memory.front() == T(77) && memory.back() == T(77) && apart.back() == T(77),
           "elements beside the buffers");
  }

  const Counts& counts;
  std::size_t rank;
  std::int64_t begin, count;
  std::vector<T> memory, apart;
  core::Tensor all, mine;
};

template <typename T>
void scatters(Communicator& world, ScheduleRunner& runner, const Counts& counts, bool in_place) {
  Parted<T> x(world, counts, in_place);
  for (std::int64_t i = 0; i < x.count; ++i)
    x.all.template data<T>()[i] = static_cast<T>(value_of(i, world.rank()));
  runner.start_reduce_scatter_v(x.all, counts, x.mine).wait();
  for (std::int64_t i = 0; i < x.count; ++i) {
    double expected = 0;
    for (int r = 0; r < world.size(); ++r) expected += value_of(i, r);
    const std::string what = runner.hierarchy().text() + " scatters";
    if (x.owns(i)) x.check(i, x.mine.template data<T>()[i - x.begin], expected, what);
    if (!in_place || !x.owns(i))  // untouched
      x.check(i, x.all.template data<T>()[i], value_of(i, world.rank()), what);
  }
  x.check_guards();
}

template <typename T>
void gathers(Communicator& world, ScheduleRunner& runner, const Counts& counts, bool in_place) {
  Parted<T> x(world, counts, in_place);
  for (std::int64_t i = 0; i < x.mine.count(); ++i)
    x.mine.template data<T>()[i] = static_cast<T>(value_of(x.begin + i, world.rank()));
  runner.start_all_gather_v(x.mine, counts, x.all).wait();
  std::int64_t i = 0;
  for (int r = 0; r < world.size(); ++r) {
    for (const std::int64_t end = i + counts[static_cast<std::size_t>(r)]; i < end; ++i)
      x.check(i, x.all.template data<T>()[i], value_of(i, r),
              runner.hierarchy().text() + " gathers");
  }
  for (std::int64_t e = 0; e < x.mine.count(); ++e)
    x.check(e, x.mine.template data<T>()[e], value_of(x.begin + e, world.rank()), "mine stays");
  x.check_guards();
}

template <typename T>
void both_ways(Communicator& world, ScheduleRunner& runner, const Counts& counts) {
  for (const bool in_place : {false, true}) {
    scatters<T>(world, runner, counts, in_place);
    gathers<T>(world, runner, counts, in_place);
  }
}

// Every combination of few ranks; of many, types and wires in turn.
bool in_turn(const Communicator& world, std::size_t turn, std::size_t kind) {
  return world.size() <= 5 || turn % 3 == kind;
}

void every_plan_in_parts(Communicator& world) {
  std::size_t turn = 0;
  for (const RankOrder& order : {RankOrder::flat(world.size()), uneven(world.size())}) {
    for (const auto& levels : hierarchies(order)) {
      for (const std::int64_t segment_bytes : {0, 300}) {
        ScheduleRunner runner(world, order, levels, {.segment_bytes = segment_bytes});
        for (const Counts& counts : part_counts(world.size())) {
          if (in_turn(world, turn, 0)) both_ways<float>(world, runner, counts);
          if (in_turn(world, turn, 1)) both_ways<double>(world, runner, counts);
          if (in_turn(world, turn, 2)) both_ways<std::int32_t>(world, runner, counts);
          ++turn;
        }
      }
    }
  }
}

void narrow_wires_in_parts(Communicator& world) {
  const RankOrder order = uneven(world.size());
  const core::DType wires[] = {core::DType::f32, core::DType::bf16, core::DType::f16};
  std::size_t turn = 0;
  for (const auto& levels : hierarchies(order)) {
    if (library_from(levels, 1)) continue;
    ScheduleRunner runner(world, order, levels,
                          {.segment_bytes = 800, .wire = wires[turn++ % 3], .first_wire_level = 1});
    for (const Counts& counts : part_counts(world.size())) both_ways<double>(world, runner, counts);
  }
}

// Whoever owns what, on whatever wire, in whatever segments: the same bits, where a signature says
// that the order of sums is one.
void owners_change_no_bits(Communicator& world) {
  const RankOrder order = RankOrder::flat(world.size());
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<Counts> owners{Counts(ranks, 30), Counts(ranks, 0)};
  owners[1][ranks - 1] = 30 * static_cast<std::int64_t>(ranks);
  for (const auto& levels : hierarchies(order)) {
    for (const std::optional<core::DType> wire :
         {std::optional<core::DType>(), std::optional(core::DType::bf16)}) {
      if (wire && library_from(levels, 0)) continue;
      ScheduleRunner runner(world, order, levels, {.segment_bytes = 400, .wire = wire});
      if (runner.hierarchy().sum_signature() == 0) continue;
      std::vector<core::Tensor> sums;
      for (const Counts& counts : owners) {
        Parted<float> x(world, counts, false);
        for (std::int64_t i = 0; i < x.count; ++i) {
          x.all.data<float>()[i] =
              1.0F / static_cast<float>(1 + (i * 31 + world.rank() * 17) % 101);
        }
        runner.start_reduce_scatter_v(x.all, counts, x.mine).wait();
        sums.push_back(core::Tensor::zeros({x.count}, core::DType::f32));
        world.all_gather_v(x.mine, counts, sums.back());
      }
      expect(std::memcmp(sums[0].raw(), sums[1].raw(), sums[0].bytes()) == 0,
             runner.hierarchy().text() + ": other owners, other bits");
    }
  }
}

void narrow_wires(Communicator& world) {
  const RankOrder order = uneven(world.size());
  for (const auto& levels : hierarchies(order)) {
    for (const core::DType wire : {core::DType::f32, core::DType::bf16, core::DType::f16}) {
      for (const int first : {0, 1}) {
        if (library_from(levels, first)) continue;
        ScheduleRunner runner(world, order, levels,
                              {.segment_bytes = 800, .wire = wire, .first_wire_level = first});
        sums<float>(world, runner, 997);
        sums<double>(world, runner, 997);
        sums<std::int32_t>(world, runner, 10);
      }
    }
  }
}

// Rounding once per level and once for the sum, and all ranks hold the same bits.
void narrow_error(Communicator& world) {
  const RankOrder order = RankOrder::flat(world.size());
  const std::int64_t count = 500;
  for (const auto& levels : hierarchies(order)) {
    const bool rounds_once = std::all_of(levels.begin(), levels.end(), [](const HierarchyLevel& l) {
      return l.exchange == Exchange::direct || l.exchange == Exchange::shared;
    });
    if (!rounds_once) continue;
    ScheduleRunner runner(world, order, levels, {.wire = core::DType::bf16});
    core::Tensor x({count}, core::DType::f32), bits({count}, core::DType::f32);
    const auto part = [](std::int64_t i, int r) {
      return static_cast<float>(1.0 + static_cast<double>((i * 37 + r * 101) % 997) / 997);
    };
    for (std::int64_t i = 0; i < count; ++i) x.data<float>()[i] = part(i, world.rank());
    runner.start(x).wait();
    std::memcpy(bits.raw(), x.raw(), x.bytes());
    world.broadcast({static_cast<std::byte*>(bits.raw()), bits.bytes()}, 0);
    expect(std::memcmp(bits.raw(), x.raw(), x.bytes()) == 0, "the same bits on all ranks");
    const double unit = 1.0 / 256;  // of bf16: 8 bits of significand
    for (std::int64_t i = 0; i < count; ++i) {
      double exact = 0;
      for (int r = 0; r < world.size(); ++r) exact += part(i, r);
      const double bound = exact * unit * static_cast<double>(levels.size() + 1) * 1.01;
      expect(std::abs(x.data<float>()[i] - exact) <= bound, "one rounding a level");
    }
  }
}

std::vector<std::byte> bits_of(Communicator& world, const std::vector<HierarchyLevel>& levels,
                               std::int64_t segment_bytes) {
  ScheduleRunner runner(world, RankOrder::flat(world.size()), levels,
                        {.segment_bytes = segment_bytes});
  const std::int64_t count = 1001;
  const core::Tensor x({count}, core::DType::f32);
  for (std::int64_t i = 0; i < count; ++i) {
    x.data<float>()[i] = 1.0F / static_cast<float>(1 + (i * 31 + world.rank() * 17) % 101);
  }
  runner.start(x).wait();
  const auto* first = static_cast<const std::byte*>(x.raw());
  return {first, first + x.bytes()};
}

void equal_signatures(Communicator& world) {
  const RankOrder order = RankOrder::flat(world.size());
  std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> seen;
  for (const auto& levels : hierarchies(order)) {
    const std::uint64_t signature = comm::Hierarchy(order, levels).sum_signature();
    const std::vector<std::byte> bits = bits_of(world, levels, 400);
    expect(bits == bits_of(world, levels, 400), "two runs give the same bits");
    if (signature == 0) continue;
    expect(bits == bits_of(world, levels, 0), "another cut gives the same bits");
    for (const auto& [other, others_bits] : seen) {
      if (other == signature) expect(bits == others_bits, "equal signatures give the same bits");
    }
    seen.emplace_back(signature, bits);
  }
}

// Several buffers under way, finished in another order; every other one through test().
void several_at_once(Communicator& world) {
  ScheduleRunner runner(world, uneven(world.size()),
                        {{Exchange::direct, 3}, {Exchange::ring, world.size()}},
                        {.segment_bytes = 512});
  std::vector<core::Tensor> buffers;
  std::vector<comm::Request> requests;
  // Beside them parts, both ways.
  const Counts counts = part_counts(world.size()).back();
  Parted<double> up(world, counts, false), down(world, counts, true);
  for (std::int64_t i = 0; i < up.mine.count(); ++i) up.mine.data<double>()[i] = world.rank();
  for (std::int64_t i = 0; i < down.count; ++i)
    down.all.data<double>()[i] = value_of(i, world.rank());
  for (int b = 0; b < 7; ++b) {
    buffers.emplace_back(core::Shape{1 + 150 * b}, core::DType::f64);
    for (std::int64_t i = 0; i < buffers.back().count(); ++i) {
      buffers.back().data<double>()[i] = value_of(i + b, world.rank());
    }
    requests.push_back(runner.start(buffers.back()));
    if (b == 2) requests.push_back(runner.start_reduce_scatter_v(down.all, counts, down.mine));
    if (b == 4) requests.push_back(runner.start_all_gather_v(up.mine, counts, up.all));
  }
  for (const std::size_t at : {std::size_t{6}, std::size_t{3}}) {  // the later one first
    requests[at].wait();
    requests.erase(requests.begin() + static_cast<std::ptrdiff_t>(at));
  }
  for (std::int64_t i = 0; i < down.count; ++i) {
    double expected = 0;
    for (int r = 0; r < world.size(); ++r) expected += value_of(i, r);
    if (down.owns(i)) down.check(i, down.all.data<double>()[i], expected, "beside others");
  }
  for (std::int64_t i = 0, r = -1, end = 0; i < up.count; ++i) {
    while (i >= end) end += counts[static_cast<std::size_t>(++r)];
    up.check(i, up.all.data<double>()[i], static_cast<double>(r), "beside others");
  }
  for (int b = 6; b >= 0; --b) {
    const auto at = static_cast<std::size_t>(b);
    if (b % 2 == 0) {
      requests[at].wait();
    } else {
      while (!requests[at].test()) {
      }
    }
    for (std::int64_t i = 0; i < buffers[at].count(); ++i) {
      double expected = 0;
      for (int r = 0; r < world.size(); ++r) expected += value_of(i + b, r);
      expect_equal(buffers[at].data<double>()[i], expected);
    }
  }
}

// A schedule moves 2 n (P - 1) / P elements in all per rank, whatever its levels.
void bytes(Communicator& world) {
  const RankOrder order = RankOrder::flat(world.size());
  const std::int64_t count = std::int64_t{2} * 3 * 5 * 7 * 11 * 13 * 16 * 17;
  for (const auto& levels : hierarchies(order)) {
    ScheduleRunner runner(world, order, levels);
    core::Tensor x = core::Tensor::zeros({count}, core::DType::f32);
    runner.start(x).wait();
    std::int64_t sent = 0;
    for (int l = 0; l < runner.hierarchy().levels(); ++l) sent += runner.bytes_sent(l);
    expect_equal(world.all_reduce(sent, comm::ReduceOp::sum), 2 * 4 * count * (world.size() - 1),
                 "bytes of " + runner.hierarchy().text());
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"every plan, type, count and cut", every_plan},
                    {"every plan, type, cut and way in parts", every_plan_in_parts},
                    {"narrow wires in parts", narrow_wires_in_parts},
                    {"owners change no bits", owners_change_no_bits},
                    {"narrow wires, exact", narrow_wires},
                    {"narrow wires round once a level", narrow_error},
                    {"no narrow wire through the library", narrow_library},
                    {"equal signatures, equal bits", equal_signatures},
                    {"several at once", several_at_once},
                    {"bytes", bytes}});
}
