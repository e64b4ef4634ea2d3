// SPDX-License-Identifier: MIT
/// One allreduce on a simulated machine; run by tests/scale/run inside SimGrid's SMPI.
///   allreduce COUNT REPEATS check|shared
/// `shared`: all ranks share one piece of memory, so that thousands of ranks fit; sums are then
/// meaningless. `check`: memory of its own for each rank, and the sums are compared with what they
/// must be. Prints JSON from rank 0: simulated seconds of each repeat, the maximum over ranks. Time
/// is MPI_Wtime: clocks of the C++ library show the time of the simulator itself.
#include <mpi.h>
// After mpi.h.
#include <smpi/smpi.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/// Room for `count` floats, shared by all ranks or not.
class Buffer {
 public:
  Buffer(std::size_t count, bool shared) : shared_(shared) {
    if (shared) {
      data_ = static_cast<float*>(SMPI_SHARED_MALLOC(count * sizeof(float)));
    } else {
      own_.resize(count);
      data_ = own_.data();
    }
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (shared_) SMPI_SHARED_FREE(data_);
  }
  float* data() { return data_; }

 private:
  bool shared_;
  std::vector<float> own_;
  float* data_ = nullptr;
};

struct Place {
  int rank = 0, size = 1;
};
Place place_in(MPI_Comm comm) {
  Place place;
  MPI_Comm_rank(comm, &place.rank);
  MPI_Comm_size(comm, &place.size);
  return place;
}

/// Sums of shared memory mean nothing, and computation takes no simulated time: host time is saved.
void add_nothing(void*, void*, int*, MPI_Datatype*) {}

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
double allreduce_once(Buffer& in, Buffer& out, std::size_t count, MPI_Op op) {
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  MPI_Allreduce(in.data(), out.data(), static_cast<int>(count), MPI_FLOAT, op, MPI_COMM_WORLD);
  const double taken = MPI_Wtime() - start;
  double slowest = 0;
  MPI_Reduce(&taken, &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  return slowest;
}

void run(const std::vector<std::string>& words) {
  if (words.size() != 3 || (words[2] != "check" && words[2] != "shared")) {
    throw std::invalid_argument("usage: allreduce COUNT REPEATS check|shared");
  }
  const std::size_t count = std::stoull(words[0]);
  const bool shared = words[2] == "shared";
  const Place world = place_in(MPI_COMM_WORLD);
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world.rank, MPI_INFO_NULL, &node);
  const int first_of_node = place_in(node).rank == 0;
  int nodes = 0;
  // Not an allreduce: some of SMPI's algorithms, forced on all allreduces, sum one element wrongly.
  MPI_Reduce(&first_of_node, &nodes, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);

  Buffer in(count, shared), out(count, shared);
  if (!shared) {
    for (std::size_t i = 0; i < count; ++i) in.data()[i] = term(world.rank, i);
  }
  MPI_Op op = MPI_SUM;
  if (shared) MPI_Op_create(add_nothing, 1, &op);
  std::string seconds;
  for (int repeat = 0; repeat < std::stoi(words[1]); ++repeat) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%.9f", repeat == 0 ? "" : ", ",
                  allreduce_once(in, out, count, op));
    seconds += text;
    if (!shared) check(out.data(), count, world.size);
  }
  if (world.rank == 0) {
    std::printf(R"({"ranks": %d, "nodes": %d, "count": %zu, "seconds": [%s]})"
                "\n",
                world.size, nodes, count, seconds.c_str());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  try {
    run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "allreduce: rank %d: %s\n", place_in(MPI_COMM_WORLD).rank, error.what());
    std::fflush(stderr);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
}
