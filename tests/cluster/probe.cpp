// SPDX-License-Identifier: MIT
/// What an (emulated) cluster looks like from inside MPI, and what the MPI library makes of it:
///   probe hosts                          rank, host, rank within its node, ranks of its node
///   probe exchange BYTES FROM:TO...      all pairs send BYTES at once, three times: Mbit/s of all
///   together, and of the slowest pair probe allreduce BYTES [REPEATS]      MPI_Allreduce of BYTES
///   of f32
/// Prints JSON, one object per line, from rank 0. The bounds need the rates that
/// tests/cluster/cluster leaves in the environment.
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kHost = MPI_MAX_PROCESSOR_NAME;

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int world_size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

double max_over_ranks(double mine) {
  MPI_Allreduce(MPI_IN_PLACE, &mine, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return mine;
}

/// Rank and size within the node, as MPI sees nodes.
struct Node {
  int rank = 0, size = 1;
};
Node node_of_this_rank() {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world_rank(), MPI_INFO_NULL, &comm);
  Node node;
  MPI_Comm_rank(comm, &node.rank);
  MPI_Comm_size(comm, &node.size);
  MPI_Comm_free(&comm);
  return node;
}

void hosts() {
  char name[kHost] = {};
  int length = 0;
  MPI_Get_processor_name(name, &length);
  const Node node = node_of_this_rank();
  const int mine[2] = {node.rank, node.size};
  std::vector<char> names(kHost * static_cast<std::size_t>(world_size()));
  std::vector<int> nodes(2 * static_cast<std::size_t>(world_size()));
  MPI_Gather(name, static_cast<int>(kHost), MPI_CHAR, names.data(), static_cast<int>(kHost),
             MPI_CHAR, 0, MPI_COMM_WORLD);
  MPI_Gather(mine, 2, MPI_INT, nodes.data(), 2, MPI_INT, 0, MPI_COMM_WORLD);
  if (world_rank() != 0) return;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(world_size()); ++rank) {
    std::printf(R"({"rank": %zu, "host": "%s", "node_rank": %d, "node_size": %d})"
                "\n",
                rank, &names[rank * kHost], nodes[2 * rank], nodes[2 * rank + 1]);
  }
}

struct Pair {
  int from = 0, to = 0;
};
Pair parse_pair(const std::string& text) {
  Pair pair;
  char rest = 0;
  if (std::sscanf(text.c_str(), "%d:%d%c", &pair.from, &pair.to, &rest) != 2 || pair.from < 0 ||
      pair.to < 0 || pair.from >= world_size() || pair.to >= world_size() || pair.from == pair.to) {
    throw std::invalid_argument("'" + text + "' is no pair FROM:TO of two ranks below " +
                                std::to_string(world_size()));
  }
  return pair;
}

/// Seconds until all this rank's messages are through.
double exchange_once(const std::vector<Pair>& pairs, std::vector<char>& out,
                     std::vector<char>& in) {
  const int bytes = static_cast<int>(out.size());
  std::vector<MPI_Request> requests;
  MPI_Barrier(MPI_COMM_WORLD);
  const double start = MPI_Wtime();
  for (const Pair& pair : pairs) {
    if (pair.to == world_rank()) {
      MPI_Irecv(in.data(), bytes, MPI_BYTE, pair.from, 0, MPI_COMM_WORLD, &requests.emplace_back());
    }
    if (pair.from == world_rank()) {
      MPI_Isend(out.data(), bytes, MPI_BYTE, pair.to, 0, MPI_COMM_WORLD, &requests.emplace_back());
    }
  }
  MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE);
  return MPI_Wtime() - start;
}

void exchange(std::size_t bytes, const std::vector<std::string>& texts) {
  std::vector<Pair> pairs;
  for (const std::string& text : texts) pairs.push_back(parse_pair(text));
  std::vector<char> out(bytes, 1), in(bytes);
  std::vector<double> seconds;
  exchange_once(pairs, out, in);  // connects
  for (int repeat = 0; repeat < 3; ++repeat) {
    seconds.push_back(max_over_ranks(exchange_once(pairs, out, in)));
  }
  std::sort(seconds.begin(), seconds.end());
  const double slowest = 8e-6 * static_cast<double>(bytes) / seconds[1];
  if (world_rank() == 0) {
    std::printf(
        R"({"pairs": %zu, "bytes": %zu, "seconds": %.6f, "mbit": %.2f, "slowest_pair_mbit": %.2f})"
        "\n",
        pairs.size(), bytes, seconds[1], slowest * static_cast<double>(pairs.size()), slowest);
  }
}

double number_from_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atof(text);
}

/// Seconds that `bytes` need at least through the links that separate `parts` equal parts: each
/// part sends and receives 2 (parts - 1) / parts of the vector (../../ARCHITECTURE.md,
/// "allreduce"). 0 when the rate is not known.
double cut_bound(std::size_t bytes, int parts, double mbit) {
  if (mbit <= 0 || parts < 2) return 0;
  return 2.0 * (parts - 1) / parts * static_cast<double>(bytes) * 8e-6 / mbit;
}

/// Number of lines [[rack]] of the topology file.
int racks() {
  const char* path = std::getenv("ISARIBI_TOPOLOGY");
  std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "r");
  if (file == nullptr) return 1;
  int count = 0;
  for (char line[4096]; std::fgets(line, sizeof line, file) != nullptr;) {
    count += std::strncmp(line, "[[rack]]", 8) == 0;
  }
  std::fclose(file);
  return count;
}

void allreduce(std::size_t bytes, int repeats) {
  const std::size_t count = bytes / sizeof(float);
  std::vector<float> mine(count), sum(count);
  std::vector<double> seconds;
  for (int repeat = -1; repeat < repeats; ++repeat) {  // the first one connects, and is not counted
    for (std::size_t i = 0; i < count; ++i)
      mine[i] = static_cast<float>(world_rank() + static_cast<int>(i % 7));
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    MPI_Allreduce(mine.data(), sum.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
    const double taken = max_over_ranks(MPI_Wtime() - start);
    if (repeat >= 0) seconds.push_back(taken);
    const int ranks = world_size();
    for (std::size_t i = 0; i < count; ++i) {  // exact: small integers
      const auto expected =
          static_cast<float>(ranks * (ranks - 1) / 2 + ranks * static_cast<int>(i % 7));
      if (sum[i] != expected)
        throw std::runtime_error("MPI_Allreduce summed wrongly at " + std::to_string(i));
    }
  }
  int nodes = node_of_this_rank().rank == 0;
  MPI_Allreduce(MPI_IN_PLACE, &nodes, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const double node = cut_bound(bytes, nodes, number_from_environment("ISARIBI_CLUSTER_NODE_MBIT"));
  const double rack =
      cut_bound(bytes, racks(), number_from_environment("ISARIBI_CLUSTER_UPLINK_MBIT"));
  const double busbw =
      2.0 * (world_size() - 1) / world_size() * static_cast<double>(bytes) / median;
  if (world_rank() == 0) {
    std::printf(
        R"({"ranks": %d, "nodes": %d, "bytes": %zu, "repeats": %d, "median_s": %.6f, "min_s": %.6f, )"
        R"("busbw_mbyte": %.3f, "node_cut_s": %.6f, "of_node_cut": %.4f, "rack_cut_s": %.6f, "of_rack_cut": %.4f})"
        "\n",
        world_size(), nodes, bytes, repeats, median, seconds[0], busbw * 1e-6, node, node / median,
        rack, rack / median);
  }
}

std::size_t positive(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != 0 || !(value >= 1) || value > 2e9)
    throw std::invalid_argument("'" + text + "' is not a number from 1 to 2e9");
  return static_cast<std::size_t>(value);
}

void run(const std::vector<std::string>& words) {
  if (words.size() == 1 && words[0] == "hosts") return hosts();
  if (words.size() >= 3 && words[0] == "exchange") {
    return exchange(positive(words[1]), {words.begin() + 2, words.end()});
  }
  if ((words.size() == 2 || words.size() == 3) && words[0] == "allreduce") {
    return allreduce(positive(words[1]),
                     words.size() == 3 ? static_cast<int>(positive(words[2])) : 5);
  }
  throw std::invalid_argument(
      "usage: probe hosts | exchange BYTES FROM:TO... | allreduce BYTES [REPEATS]");
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  try {
    run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "probe: rank %d: %s\n", world_rank(), error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
}
