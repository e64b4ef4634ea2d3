// SPDX-License-Identifier: MIT
// Levels of NCCL, with a stand-in for it: sums and parts along hierarchies that have one, exact
// integers; which ranks have GPUs and how they are linked; plans that need them where there are
// none; the search among them.
#include <algorithm>

#include "comm/allreduce/tuner.hpp"
#include "comm/runtime.hpp"
#include "harness.hpp"
#include "pretend_gpus.hpp"

using namespace isaribi;
using namespace isaribi::mpi_test;
using comm::Communicator;
using comm::ScheduleRunner;

namespace {

double value_of(std::int64_t i, int rank) {
  return static_cast<double>((i * 7 + rank * 3) % 8);
}

/// With one level of NCCL at least, as far as these ranks come together in it.
std::vector<std::string> plans(int ranks) {
  const std::string p = std::to_string(ranks), half = std::to_string(ranks / 2);
  if (ranks % 2 != 0 || ranks < 4) return {"nccl" + p, "nccl" + p + "/200"};
  return {"nccl" + p,
          "nccl" + p + "/200",
          "nccl2-nccl" + half + "/300",
          "nccl2-direct" + half + "/200",
          "nccl2-ring" + half,
          "nccl2-mpi" + half + "/300",
          "nccl" + half + "-direct2/200",
          "shared2-nccl" + half + "/200",
          "direct2-nccl" + half};
}

template <typename T>
void sums(Communicator& world, ScheduleRunner& runner, std::int64_t count) {
  std::vector<T> memory(static_cast<std::size_t>(count) + 1, T(77));
  for (std::int64_t i = 0; i < count; ++i)
    memory[static_cast<std::size_t>(i)] = static_cast<T>(value_of(i, world.rank()));
  runner.start(core::Tensor::borrow(memory.data(), {count}, core::dtype_of<T>)).wait();
  for (std::int64_t i = 0; i < count; ++i) {
    double expected = 0;
    for (int r = 0; r < world.size(); ++r) expected += value_of(i, r);
    expect_equal(static_cast<double>(memory[static_cast<std::size_t>(i)]), expected,
                 runner.hierarchy().text() + " element " + std::to_string(i));
  }
  expect(memory.back() == T(77), "the element behind the buffer");
}

void parts(Communicator& world, ScheduleRunner& runner, const std::vector<std::int64_t>& counts) {
  const auto me = static_cast<std::size_t>(world.rank());
  const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const std::int64_t begin =
      std::accumulate(counts.begin(), counts.begin() + world.rank(), std::int64_t{0});
  const core::Tensor all({total}, core::DType::f64), mine({counts[me]}, core::DType::f64);
  for (std::int64_t i = 0; i < total; ++i) all.data<double>()[i] = value_of(i, world.rank());
  runner.start_reduce_scatter_v(all, counts, mine).wait();
  double ranks_sum = 0;
  for (std::int64_t i = 0; i < counts[me]; ++i) {
    ranks_sum = 0;
    for (int r = 0; r < world.size(); ++r) ranks_sum += value_of(begin + i, r);
    expect_equal(mine.data<double>()[i], ranks_sum, runner.hierarchy().text() + " scatters");
    mine.data<double>()[i] = value_of(begin + i, world.rank() + 1);
  }
  runner.start_all_gather_v(mine, counts, all).wait();
  std::int64_t i = 0;
  for (int r = 0; r < world.size(); ++r) {
    for (const std::int64_t end = i + counts[static_cast<std::size_t>(r)]; i < end; ++i)
      expect_equal(all.data<double>()[i], value_of(i, r + 1), runner.hierarchy().text());
  }
}

void every_plan(Communicator& world) {
  const std::int64_t ranks = world.size();
  for (const std::string& text : plans(world.size())) {
    const comm::PlanChoice plan = comm::parse_plan(text);
    const std::int64_t before = PretendGroup::finished;
    ScheduleRunner runner(world, comm::RankOrder::flat(world.size()), plan.levels,
                          {.segment_bytes = plan.segment_bytes});
    for (const std::int64_t count :
         {std::int64_t{0}, std::int64_t{1}, ranks - 1, ranks, 3 * ranks + 1, std::int64_t{997}}) {
      sums<float>(world, runner, count);
      sums<double>(world, runner, count);
      sums<std::int32_t>(world, runner, count);
    }
    std::vector<std::int64_t> uneven(static_cast<std::size_t>(ranks)), alike(uneven.size(), 24);
    for (std::size_t r = 0; r < uneven.size(); ++r)
      uneven[r] = static_cast<std::int64_t>(r * 5 % 7 * 9);
    parts(world, runner, alike);
    parts(world, runner, uneven);
    expect(PretendGroup::finished > before, text + " goes through the GPUs");
  }
}

// Several sums under way at once: the ways down and up of different segments meet.
void several_at_once(Communicator& world) {
  for (const std::string& text : plans(world.size())) {
    const comm::PlanChoice plan = comm::parse_plan(text);
    ScheduleRunner runner(world, comm::RankOrder::flat(world.size()), plan.levels,
                          {.segment_bytes = 256});
    std::vector<core::Tensor> buffers;
    std::vector<comm::Request> requests;
    for (int k = 0; k < 4; ++k) {
      buffers.emplace_back(core::Shape{500 + k}, core::DType::f32);
      for (std::int64_t i = 0; i < buffers.back().count(); ++i)
        buffers.back().data<float>()[i] = static_cast<float>(value_of(i + k, world.rank()));
      requests.push_back(runner.start(buffers.back()));
    }
    for (comm::Request& request : requests) request.wait();
    for (int k = 0; k < 4; ++k) {
      const core::Tensor& x = buffers[static_cast<std::size_t>(k)];
      for (std::int64_t i = 0; i < x.count(); ++i) {
        double expected = 0;
        for (int r = 0; r < world.size(); ++r) expected += value_of(i + k, r);
        expect_equal(static_cast<double>(x.data<float>()[i]), expected, text);
      }
    }
  }
}

bool has_nccl(const std::vector<comm::HierarchyLevel>& levels) {
  return std::any_of(levels.begin(), levels.end(), [](const comm::HierarchyLevel& l) {
    return l.exchange == comm::Exchange::nccl;
  });
}

void levels_of_the_machine(Communicator& world) {
  const comm::Topology topology = comm::discover_topology(world);
  expect_equal(topology.why_no_gpus, std::string(), "why there are no GPUs");
  expect_in("each rank with a GPU", topology.description());
  if (world.size() >= 4) expect_in("a group of linked GPUs", topology.description());
  const auto candidates = comm::candidate_levels(topology);
  expect(std::any_of(candidates.begin(), candidates.end(), has_nccl), "plans through GPUs");
  comm::check_plan(topology, {{{comm::Exchange::nccl, world.size()}}, 0}, std::nullopt);
  try {
    comm::check_plan(topology, {{{comm::Exchange::nccl, world.size()}}, 0}, core::DType::bf16);
    expect(false, "NCCL is to send bf16");
  } catch (const core::UsageError& error) {
    expect_in("cannot send bf16", error.what());
  }
}

/// Whether a search measures plans through GPUs.
bool searches_gpus(Communicator& world) {
  const comm::TunerOptions options{.sizes = {64 << 10},
                                   .type = core::DType::f32,
                                   .wire = std::nullopt,
                                   .same_bits = false,
                                   .exhaustive = false,
                                   .plans = {},
                                   .budget_seconds = 2,
                                   .window = 2};
  const comm::TunerReport report = comm::tune(world, comm::discover_topology(world), options);
  return std::any_of(report.results.begin(), report.results.end(),
                     [](const comm::PlanResult& r) { return has_nccl(r.plan.levels); });
}

void search(Communicator& world) {
  expect(searches_gpus(world), "a plan through GPUs is measured");
  PretendGroup::wrong = true;
  expect(!searches_gpus(world), "GPUs that add wrongly are left alone");
  PretendGroup::wrong = false;
  PretendGroup::refuses = world.rank() == world.size() - 1;
  expect(!searches_gpus(world), "GPUs of which one refuses are left alone");
  PretendGroup::refuses = false;
}

/// Fewer GPUs than ranks, and none.
void without(Communicator& world) {
  const int size = world.size();
  std::vector<comm::Place> places;
  for (int r = 0; r < size; ++r) {
    places.push_back({"", "n0"});
    places.back().gpu = {"0000:0", "", -1};
  }
  const auto refuses = [&](const std::string& why) {
    const comm::Topology topology = comm::arrange(places);
    expect_in(why, topology.why_no_gpus);
    for (const auto& levels : comm::candidate_levels(topology))
      expect(!has_nccl(levels), "no plan through GPUs");
    try {
      comm::check_plan(topology, {{{comm::Exchange::nccl, size}}, 0}, std::nullopt);
      expect(false, "a plan through GPUs that are not there");
    } catch (const core::UsageError& error) {
      expect_in("needs a GPU of its own on every rank: " + why, error.what());
    }
  };
  refuses("rank 1 on n0 would use the GPU of rank 0");
  places.front().gpu = {"", "no driver", -1};
  refuses("rank 0 on n0: no driver");
}

}  // namespace

int main(int argc, char** argv) {
  PretendGpus gpus(64);
  comm::RuntimeOptions options;
  options.gpus = &gpus;
  return run_cases(argc, argv,
                   {{"every plan", every_plan},
                    {"several at once", several_at_once},
                    {"levels of the machine", levels_of_the_machine},
                    {"a search", search},
                    {"ranks without GPUs", without}},
                   options);
}
