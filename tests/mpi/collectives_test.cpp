// SPDX-License-Identifier: MIT
// Every collective, every type and operation, awkward counts; run a second time with tiny pieces so
// that the path of messages beyond 2^31 bytes is walked.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>

#include "harness.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;
using comm::ReduceOp;

namespace {

constexpr std::int64_t kCounts[] = {0, 1, 2, 127, 1000, 4099};
constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::min, ReduceOp::max};

/// Small integers: exact in every type and order of summation.
template <typename T>
T value(int rank, std::int64_t i) {
  return static_cast<T>((rank + 2 * i) % 7 + rank % 3);
}

template <typename T>
T expected(int ranks, std::int64_t i, ReduceOp op) {
  T result = value<T>(0, i);
  for (int r = 1; r < ranks; ++r) {
    const T v = value<T>(r, i);
    if (op == ReduceOp::sum) result = static_cast<T>(result + v);
    if (op == ReduceOp::min) result = std::min(result, v);
    if (op == ReduceOp::max) result = std::max(result, v);
  }
  return result;
}

template <typename T>
core::Tensor filled(const Communicator& world, std::int64_t count) {
  core::Tensor t({count}, core::dtype_of<T>);
  for (std::int64_t i = 0; i < count; ++i) t.data<T>()[i] = value<T>(world.rank(), i);
  return t;
}

template <typename T>
void expect_reduced(const Communicator& world, const core::Tensor& t, ReduceOp op) {
  for (std::int64_t i = 0; i < t.count(); ++i) {
    expect_equal(+t.data<T>()[i], +expected<T>(world.size(), i, op),
                 "element " + std::to_string(i));
  }
}

template <typename T>
void all_reduce_of(Communicator& world) {
  for (const std::int64_t count : kCounts) {
    for (const ReduceOp op : kOps) {
      core::Tensor t = filled<T>(world, count);
      world.all_reduce(t, op);
      expect_reduced<T>(world, t, op);
      core::Tensor later = filled<T>(world, count);
      world.start_all_reduce(later, op).wait();
      expect_reduced<T>(world, later, op);
    }
  }
}

void all_reduce_types(Communicator& world) {
  all_reduce_of<double>(world);
  all_reduce_of<float>(world);
  all_reduce_of<std::int32_t>(world);
  all_reduce_of<std::int8_t>(world);
  all_reduce_of<std::uint8_t>(world);
}

void all_reduce_scalars(Communicator& world) {
  const std::int64_t big = (std::int64_t{1} << 40) + world.rank();
  expect_equal(world.all_reduce(big, ReduceOp::max), (std::int64_t{1} << 40) + world.size() - 1);
  expect_equal(world.all_reduce(big, ReduceOp::min), std::int64_t{1} << 40);
  expect_equal(world.all_reduce(0.5, ReduceOp::sum), 0.5 * world.size());
}

void all_reduce_in_a_slice(Communicator& world) {
  core::Tensor whole = filled<double>(world, 100);
  world.all_reduce(whole.slice(10, {37}), ReduceOp::sum);
  for (std::int64_t i = 0; i < 100; ++i) {
    const double want = i >= 10 && i < 47 ? expected<double>(world.size(), i, ReduceOp::sum)
                                          : value<double>(world.rank(), i);
    expect_equal(whole.data<double>()[i], want);
  }
}

void half_types_are_refused(Communicator& world) {
  bool refused = false;
  try {
    world.all_reduce(core::Tensor::zeros({3}, core::DType::bf16), ReduceOp::sum);
  } catch (const core::InternalError& error) {
    refused = true;
    expect_in("bf16", error.cause());
  }
  expect(refused, "bf16 is refused");
}

void several_requests_at_once(Communicator& world) {
  std::vector<core::Tensor> tensors;
  std::vector<comm::Request> requests;
  for (int k = 0; k < 8; ++k) {
    tensors.push_back(filled<float>(world, 500 + 131 * k));
    requests.push_back(world.start_all_reduce(tensors.back(), ReduceOp::sum));
  }
  while (!requests[3].test()) {
  }
  for (int k = 7; k >= 0; --k) requests[static_cast<std::size_t>(k)].wait();
  requests[0].wait();  // again: complete already
  for (const core::Tensor& t : tensors) expect_reduced<float>(world, t, ReduceOp::sum);
  core::Tensor last = filled<float>(world, 999);
  { const comm::Request dropped = world.start_all_reduce(last, ReduceOp::max); }  // waits
  expect_reduced<float>(world, last, ReduceOp::max);
}

void same_bits_everywhere(Communicator& world) {
  // Values whose sum depends on the order of summation: all ranks, and two runs, must still agree
  // on every bit.
  core::Tensor first({3001}, core::DType::f32), second({3001}, core::DType::f32);
  for (std::int64_t i = 0; i < first.count(); ++i) {
    const float v = 1.0f / static_cast<float>(1 + i * (world.rank() + 1)) +
                    1e6f * static_cast<float>(world.rank() % 2);
    first.data<float>()[i] = second.data<float>()[i] = v;
  }
  world.start_all_reduce(first, ReduceOp::sum).wait();
  world.start_all_reduce(second, ReduceOp::sum).wait();
  expect(std::memcmp(first.raw(), second.raw(), first.bytes()) == 0, "two runs give the same bits");
  const std::string mine(static_cast<const char*>(first.raw()), first.bytes());
  expect(world.broadcast_string(mine, 0) == mine, "all ranks hold the same bits");
}

void broadcasts(Communicator& world) {
  for (int root = 0; root < world.size(); ++root) {
    for (const std::int64_t count : kCounts) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(count));
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(
            world.rank() == root ? i * 31 + static_cast<std::size_t>(root) : 0);
      }
      world.broadcast(bytes, root);
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        expect(bytes[i] == static_cast<std::byte>(i * 31 + static_cast<std::size_t>(root)), "byte");
      }
    }
    const std::string text = "from " + std::to_string(world.rank());
    expect_equal(world.broadcast_string(text, root), "from " + std::to_string(root));
  }
  expect_equal(world.broadcast_string(""), "");
}

void gathers(Communicator& world) {
  const auto ranks = static_cast<std::size_t>(world.size());
  for (const std::int64_t count : kCounts) {
    const auto n = static_cast<std::size_t>(count);
    std::vector<std::byte> mine(n), all(n * ranks);
    for (std::size_t i = 0; i < n; ++i)
      mine[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(world.rank()));
    world.all_gather(mine, all);
    for (std::size_t r = 0; r < ranks; ++r) {
      for (std::size_t i = 0; i < n; ++i)
        expect(all[r * n + i] == static_cast<std::byte>(i * 7 + r), "byte");
    }
  }
  const auto strings =
      world.all_gather_strings(std::string(static_cast<std::size_t>(world.rank()) * 3, 'x'));
  expect_equal(strings.size(), ranks);
  for (std::size_t r = 0; r < ranks; ++r) expect_equal(strings[r], std::string(r * 3, 'x'));
}

using Counts = std::vector<std::int64_t>;

/// Counts per rank: equal, growing, with holes, all on one rank, nothing at all.
std::vector<Counts> uneven_counts(int ranks) {
  std::vector<Counts> all;
  const auto add = [&](const auto& count_of) {
    Counts& counts = all.emplace_back();
    for (std::int64_t r = 0; r < ranks; ++r) counts.push_back(count_of(r));
  };
  add([](std::int64_t) { return 127; });
  add([](std::int64_t r) { return 1000 * r + 1; });
  add([](std::int64_t r) { return r % 2 == 0 ? 0 : 333 + r; });
  add([](std::int64_t r) { return r == 0 ? 4099 : 0; });
  add([&](std::int64_t r) { return r == ranks - 1 ? 777 : 0; });
  add([](std::int64_t) { return 0; });
  return all;
}

std::int64_t before(const Counts& counts, int rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, std::int64_t{0});
}

template <typename T>
void reduce_scatter_of(Communicator& world, const Counts& counts, bool in_place, bool blocking) {
  const std::int64_t total = before(counts, world.size()), first = before(counts, world.rank());
  const std::int64_t count = counts[static_cast<std::size_t>(world.rank())];
  const core::Tensor all = filled<T>(world, total);
  const core::Tensor mine =
      in_place ? all.slice(first, {count}) : core::Tensor({count}, core::dtype_of<T>);
  if (blocking) {
    world.reduce_scatter_v(all, counts, mine);
  } else {
    world.start_reduce_scatter_v(all, counts, mine).wait();
  }
  for (std::int64_t i = 0; i < count; ++i) {
    expect_equal(mine.data<T>()[i], expected<T>(world.size(), first + i, ReduceOp::sum),
                 "element " + std::to_string(i));
  }
  for (std::int64_t i = 0; i < total; ++i) {
    if (in_place && i >= first && i < first + count) continue;
    expect_equal(all.data<T>()[i], value<T>(world.rank(), i), "what was given");
  }
}

template <typename T>
void all_gather_of(Communicator& world, const Counts& counts, bool in_place, bool blocking) {
  const std::int64_t total = before(counts, world.size()), first = before(counts, world.rank());
  const std::int64_t count = counts[static_cast<std::size_t>(world.rank())];
  const core::Tensor all({total}, core::dtype_of<T>);
  std::fill_n(all.data<T>(), total, T(-1));
  const core::Tensor mine =
      in_place ? all.slice(first, {count}) : core::Tensor({count}, core::dtype_of<T>);
  for (std::int64_t i = 0; i < count; ++i) mine.data<T>()[i] = value<T>(world.rank(), i);
  if (blocking) {
    world.all_gather_v(mine, counts, all);
  } else {
    world.start_all_gather_v(mine, counts, all).wait();
  }
  for (int r = 0; r < world.size(); ++r) {
    for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(r)]; ++i)
      expect_equal(all.data<T>()[before(counts, r) + i], value<T>(r, i), "gathered element");
  }
}

void vector_collectives(Communicator& world) {
  for (const Counts& counts : uneven_counts(world.size())) {
    for (const bool in_place : {false, true}) {
      for (const bool blocking : {false, true}) {
        reduce_scatter_of<float>(world, counts, in_place, blocking);
        reduce_scatter_of<double>(world, counts, in_place, blocking);
        all_gather_of<float>(world, counts, in_place, blocking);
        all_gather_of<double>(world, counts, in_place, blocking);
      }
    }
  }
}

/// Both directions under way at once, with the counts gone before they are complete.
void vector_collectives_overlap(Communicator& world) {
  const core::Tensor all = filled<double>(world, 500 * world.size());
  const core::Tensor part({500}, core::DType::f64), back(all.shape(), core::DType::f64);
  const core::Tensor other = filled<double>(world, 77);
  const core::Tensor others({77 * world.size()}, core::DType::f64);
  comm::Request scatter, gather;
  {
    const Counts large(static_cast<std::size_t>(world.size()), 500);
    const Counts small(static_cast<std::size_t>(world.size()), 77);
    scatter = world.start_reduce_scatter_v(all, large, part);
    gather = world.start_all_gather_v(other, small, others);
  }
  while (!gather.test()) {
  }
  scatter.wait();
  world.all_gather_v(part, Counts(static_cast<std::size_t>(world.size()), 500), back);
  expect_reduced<double>(world, back, ReduceOp::sum);
  for (std::int64_t i = 0; i < others.count(); ++i) {
    const double want = value<double>(static_cast<int>(i / 77), i % 77);
    expect_equal(others.data<double>()[i], want, "the one under way");
  }
}

void wrong_counts_are_refused(Communicator& world) {
  const core::Tensor all({10}, core::DType::f32), mine({1}, core::DType::f32);
  const auto refused = [&](const Counts& counts, const core::Tensor& part, const char* why) {
    try {
      world.reduce_scatter_v(all, counts, part);
    } catch (const core::InternalError& error) {
      expect_in(why, error.cause());
      return;
    }
    expect(false, why);
  };
  const auto ranks = static_cast<std::size_t>(world.size());
  refused(Counts(ranks + 1, 1), mine, "counts for");
  refused(Counts(ranks, -1), mine, "negative");
  refused(Counts(ranks, 1), mine, "add up");
  Counts right(ranks, 0);
  right[0] = 10;
  refused(right, core::Tensor({11}, core::DType::f32), "part of this rank");
  const std::int64_t count = world.rank() == 0 ? 10 : 0;
  refused(right, core::Tensor({count}, core::DType::f64), "f32");
}

/// Bytes by the formulas of the ring algorithms.
void traffic_is_counted(Communicator& world) {
  const auto group = world.duplicate();
  const int ranks = group->size();
  const auto ranks_ = static_cast<std::size_t>(ranks);
  const core::Tensor all = core::Tensor::zeros({30 * ranks}, core::DType::f32);
  const core::Tensor part = core::Tensor::zeros({30}, core::DType::f32);
  group->all_reduce(all, ReduceOp::sum);
  group->start_all_reduce(all, ReduceOp::sum).wait();
  group->reduce_scatter_v(all, Counts(ranks_, 30), part);
  group->all_gather_v(part, Counts(ranks_, 30), all);
  std::vector<std::byte> bytes(7), gathered(7 * ranks_);
  group->broadcast(bytes, 0);
  group->all_gather(bytes, gathered);
  const comm::Traffic& sent = group->traffic();
  const std::int64_t n = 120 * ranks;
  expect_equal(sent.all_reduce, 2 * n);
  expect_equal(sent.reduce_scatter, n);
  expect_equal(sent.all_gather, n + 7 * ranks);
  expect_equal(sent.broadcast, std::int64_t{7});
  // 2 n (P - 1) / P twice, n (P - 1) / P twice, 7 P (P - 1) / P, 7; nothing for one rank.
  const double want = ranks == 1 ? 0.0 : (ranks - 1) * (4 * 120 + 2 * 120 + 7) + 7;
  expect(std::abs(sent.on_wire(ranks) - want) < 1e-6, "bytes on the wire");
  expect_equal((sent - sent).on_wire(ranks), 0.0);
}

void splits(Communicator& world) {
  const auto node = world.split_node();  // the test runs on one node
  expect_equal(node->size(), world.size());
  expect_equal(node->rank(), world.rank());
  expect(!node->host().empty(), "host has a name");
  const auto part = world.split(world.rank() % 2);
  expect_equal(part->rank(), world.rank() / 2);
  expect_equal(part->all_reduce(std::int64_t{1}, ReduceOp::sum), std::int64_t{part->size()});
  const auto copy = world.duplicate();
  expect_equal(copy->all_reduce(std::int64_t{world.rank()}, ReduceOp::sum),
               std::int64_t{world.size()} * (world.size() - 1) / 2);
}

void shared_windows(Communicator& world) {
  const auto node = world.split_node();
  const auto ranks = static_cast<std::size_t>(node->size());
  const auto window = node->make_shared_window(ranks * sizeof(std::int64_t));
  expect_equal(reinterpret_cast<std::uintptr_t>(window->data()) % 64, std::uintptr_t{0},
               "alignment");
  auto* words = reinterpret_cast<std::int64_t*>(window->data());
  for (int round = 1; round <= 3; ++round) {
    words[node->rank()] = round * 100 + node->rank();
    window->fence();
    for (std::size_t r = 0; r < ranks; ++r)
      expect_equal(words[r], round * 100 + static_cast<std::int64_t>(r));
    window->fence();
  }
  const auto empty = node->make_shared_window(0);
  expect_equal(empty->bytes(), std::size_t{0});
}

void too_large_a_window_is_an_error(Communicator& world) {
  const auto node = world.split_node();
  bool refused = false;
  try {
    node->make_shared_window(std::size_t{1} << 46);  // 64 TiB
  } catch (const core::CommError& error) {
    refused = true;
    expect_in("/dev/shm", error.cause());
  }
  expect(refused, "64 TiB are refused");
}

}  // namespace

int main(int argc, char** argv) {
  return run_cases(argc, argv,
                   {{"all_reduce of every type, operation and count", all_reduce_types},
                    {"all_reduce of scalars", all_reduce_scalars},
                    {"all_reduce touches its slice only", all_reduce_in_a_slice},
                    {"half types are refused", half_types_are_refused},
                    {"several requests at once", several_requests_at_once},
                    {"the same bits everywhere", same_bits_everywhere},
                    {"broadcast", broadcasts},
                    {"all_gather", gathers},
                    {"reduce_scatter_v and all_gather_v", vector_collectives},
                    {"vector collectives overlap", vector_collectives_overlap},
                    {"wrong counts are refused", wrong_counts_are_refused},
                    {"traffic is counted", traffic_is_counted},
                    {"split, duplicate", splits},
                    {"shared windows", shared_windows},
                    {"too large a window is an error", too_large_a_window_is_an_error}});
}
