// SPDX-License-Identifier: MIT
/// Allreduces on a simulated machine; run by tests/scale/run inside SimGrid's SMPI.
///   allreduce COUNT REPEATS check|shared RANKS_PER_NODE NODES_OF_RACK,... [PLAN...]
/// Without a plan the MPI library's allreduce, else ours along each one (direct4-ring32/4M).
/// `shared`: all ranks share one piece of memory, so that thousands of ranks fit; sums are then
/// meaningless. `check`: memory of its own for each rank, and the sums are compared with what they
/// must be. Prints JSON from rank 0, a line per plan: simulated seconds of each repeat, the maximum
/// over ranks. Time is MPI_Wtime: clocks of the C++ library show the time of the simulator itself.
#include <mpi.h>
// After mpi.h.
#include <smpi/smpi.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/allreduce/plan_choice.hpp"
#include "comm/allreduce/schedule_runner.hpp"
#include "comm/mpi_communicator.hpp"

using namespace isaribi;

namespace {

/// Memory that is the same for all ranks, who share globals and one thread: nothing is copied into
/// it, what it holds means nothing, and it stays. Pieces of different purposes are apart.
void* same_for_all(const char* purpose, std::size_t bytes) {
  static std::map<std::pair<std::string, std::size_t>, void*> pieces;
  void*& piece = pieces[{purpose, bytes}];
  if (piece == nullptr) piece = SMPI_SHARED_MALLOC(std::max<std::size_t>(bytes, 1));
  return piece;
}

/// Room for `count` floats, one for all ranks or not.
class Buffer {
 public:
  Buffer(const char* purpose, std::size_t count, bool shared) {
    if (!shared) own_.resize(count);
    data_ =
        shared ? static_cast<float*>(same_for_all(purpose, count * sizeof(float))) : own_.data();
  }
  float* data() { return data_; }

 private:
  std::vector<float> own_;
  float* data_ = nullptr;
};

/// Sums of shared memory mean nothing, and computation takes no simulated time: host time is saved.
void add_nothing(void*, void*, int*, MPI_Datatype*) {}
core::SumKernels no_sums(core::DType, core::DType) {
  return {[](void*, const void*, std::int64_t) {}, [](const void*, void*, std::int64_t) {},
          [](const void*, void*, std::int64_t) {}};
}

float term(int rank, std::size_t i) {
  return static_cast<float>(rank % 5 + static_cast<int>(i % 7));
}

void check(const float* sum, std::size_t count, int ranks) {
  double of_ranks = 0;
  for (int rank = 0; rank < ranks; ++rank) of_ranks += rank % 5;
  for (std::size_t i = 0; i < count; ++i) {  // exact: small integers
    const double expected = of_ranks + ranks * static_cast<double>(i % 7);
    if (sum[i] != expected) {
      throw std::runtime_error("element " + std::to_string(i) + " is " + std::to_string(sum[i]) +
                               ", not " + std::to_string(expected));
    }
  }
}

/// Simulated seconds on rank 0, the maximum over ranks.
double time_once(const std::function<void()>& sum) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  sum();
  const double taken = MPI_Wtime() - start;
  double slowest = 0;
  MPI_Reduce(&taken, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  return slowest;
}

/// For whatever arrives anywhere.
class SharedMemory final : public core::MemoryResource {
 public:
  core::Device device() const override { return {}; }
  void* allocate(std::size_t bytes) override { return same_for_all("arrivals", bytes); }
  void deallocate(void*, std::size_t) noexcept override {}
};

/// Ranks node by node, nodes rack by rack, as the host file of the run says.
comm::Topology topology_of(int ranks, int ranks_per_node, const std::string& rack_nodes) {
  std::vector<comm::Place> places;
  std::istringstream text(rack_nodes);
  int node = 0, rack = 0;
  for (std::string nodes; std::getline(text, nodes, ','); ++rack) {
    for (const int end = node + std::stoi(nodes); node < end; ++node) {
      for (int r = 0; r < ranks_per_node && static_cast<int>(places.size()) < ranks; ++r) {
        places.push_back({std::to_string(rack), std::to_string(node)});
      }
    }
  }
  if (static_cast<int>(places.size()) != ranks) throw std::invalid_argument("too few nodes");
  return comm::arrange(places);
}

struct Options {
  std::size_t count = 0;
  int repeats = 1;
  bool shared = false;
  int ranks_per_node = 1;
  std::string rack_nodes;
  std::vector<std::string> plans;
};

Options parse(const std::vector<std::string>& words) {
  if (words.size() < 5 || (words[2] != "check" && words[2] != "shared")) {
    throw std::invalid_argument(
        "usage: allreduce COUNT REPEATS check|shared RANKS_PER_NODE NODES_OF_RACK,... [PLAN...]");
  }
  return {std::stoull(words[0]),
          std::stoi(words[1]),
          words[2] == "shared",
          std::stoi(words[3]),
          words[4],
          {words.begin() + 5, words.end()}};
}

void fill(Buffer& x, std::size_t count, int rank) {
  for (std::size_t i = 0; i < count; ++i) x.data()[i] = term(rank, i);
}

/// Times `sum` of x, whatever makes it, and prints the line of `plan`.
void measure(const Options& options, const comm::Communicator& world, int nodes, Buffer& x,
             const std::string& plan, const std::function<void()>& sum) {
  std::string seconds;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    if (!options.shared) fill(x, options.count, world.rank());
    char text[32];
    std::snprintf(text, sizeof text, "%s%.9f", repeat == 0 ? "" : ", ", time_once(sum));
    seconds += text;
    if (!options.shared) check(x.data(), options.count, world.size());
  }
  if (world.rank() != 0) return;
  std::printf(R"({"ranks": %d, "nodes": %d, "count": %zu, "plan": "%s", "seconds": [%s]})"
              "\n",
              world.size(), nodes, options.count, plan.c_str(), seconds.c_str());
  std::fflush(stdout);
}

void run(const Options& options) {
  auto shared = std::make_shared<comm::MpiShared>();
  if (options.shared) shared->kernels = no_sums;
  const auto world = comm::make_mpi_communicator(MPI_COMM_WORLD, false, std::move(shared));
  const comm::Topology topology =
      topology_of(world->size(), options.ranks_per_node, options.rack_nodes);
  Buffer x("sums", options.count, options.shared);
  if (options.plans.empty()) {
    MPI_Op op = MPI_SUM;
    if (options.shared) MPI_Op_create(add_nothing, 1, &op);
    Buffer in("contributions", options.count, options.shared);
    measure(options, *world, topology.nodes, x, "mpi", [&] {
      if (!options.shared) std::copy_n(x.data(), options.count, in.data());
      MPI_Allreduce(in.data(), x.data(), static_cast<int>(options.count), MPI_FLOAT, op,
                    MPI_COMM_WORLD);
    });
  }
  SharedMemory memory;
  for (const std::string& text : options.plans) {
    const comm::PlanChoice plan = comm::parse_plan(text);
    comm::ScheduleOptions how{.segment_bytes = plan.segment_bytes, .limit_seconds = 0};
    if (options.shared) how.memory = &memory;
    comm::ScheduleRunner runner(*world, topology.order, plan.levels, how);
    const auto tensor = core::Tensor::borrow(x.data(), {static_cast<std::int64_t>(options.count)},
                                             core::DType::f32);
    measure(options, *world, topology.nodes, x, text, [&] { runner.start(tensor).wait(); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  try {
    run(parse({argv + 1, argv + argc}));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "allreduce: rank %d: %s\n", rank, error.what());
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
}
