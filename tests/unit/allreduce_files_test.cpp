// SPDX-License-Identifier: MIT
// Machine files and tuning files: good ones, and what is said about the others.
#include "app/allreduce_files.hpp"

#include <fstream>
#include <string>
#include <vector>

#include "app/machine_file.hpp"
#include "catch.hpp"
#include "core/error.hpp"
#include "temporary_folder.hpp"

using namespace isaribi;

namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::string cause_of(const std::string& path, core::ExitCode code, bool machine) {
  try {
    if (machine) {
      app::read_machine_file(path);
    } else {
      app::read_tuning(path);
    }
  } catch (const core::Error& error) {
    CHECK(error.code() == code);
    CHECK_FALSE(error.hint().empty());
    return error.cause();
  }
  return "no error";
}

constexpr const char* kTuning =
    R"({"format": 1, "topology": "8 ranks on 4 nodes", "wire": "bf16", "order": "one",
 "entries": [{"bytes": 65536, "plan": "mpi", "seconds": 0.001, "library_seconds": 0.001}]})";

}  // namespace

TEST_CASE("machine files: the example of --help") {
  const TemporaryFolder folder;
  const std::string path = folder.file("machine.toml"), example = app::kMachineFileExample;
  write(path, example.substr(example.find('\n') + 1));
  const app::MachineFile file = app::read_machine_file(path);
  CHECK(file.ranks_per_socket == 2);
  CHECK(file.ranks_per_node == 4);
  CHECK(file.nodes_per_rack == 34);
  CHECK(file.inside.bytes_per_s == Approx(75e9));
  CHECK(file.socket.bytes_per_s == Approx(60e9));
  CHECK(file.node.bytes_per_s == Approx(25e9));
  CHECK(file.node.latency_s == Approx(5e-6));
  CHECK(file.rack.bytes_per_s == Approx(300e9));
  CHECK(file.rack_of_host == std::map<std::string, std::string>{{"n0", "r0"}, {"n1", "r0"}});
  CHECK(app::read_machine_file("").rack_of_host.empty());
}

TEST_CASE("machine files: which link a message takes") {
  app::MachineFile file;
  file.inside = {1e10, 1e-6};
  file.node = {1e9, 2e-6};
  file.rack = {5e8, 3e-6};
  file.socket = {7e9, 4e-6};
  const auto latencies = [&](int ranks, int per_node, int per_rack, int per_socket = 0) {
    std::vector<double> all;
    for (const comm::LinkModel& l :
         file.model(comm::regular_topology(ranks, per_node, per_rack, per_socket)).links) {
      CHECK(l.ring.latency == l.direct.latency);
      all.push_back(l.ring.latency);
    }
    return all;
  };
  CHECK(latencies(16, 2, 4) == std::vector<double>{1e-6, 2e-6, 3e-6});
  CHECK(latencies(8, 2, 4) == std::vector<double>{1e-6, 2e-6});
  CHECK(latencies(8, 1, 4) == std::vector<double>{2e-6, 3e-6});  // one rank a node
  CHECK(latencies(8, 1, 8) == std::vector<double>{2e-6});
  CHECK(latencies(4, 8, 4) == std::vector<double>{1e-6});  // one node
  CHECK(latencies(32, 4, 4, 2) == std::vector<double>{1e-6, 4e-6, 2e-6, 3e-6});
  CHECK(latencies(4, 4, 4, 2) == std::vector<double>{1e-6, 4e-6});
  const comm::LinkCost cost = file.model(comm::regular_topology(8, 2, 4)).links[1].ring;
  CHECK(cost.alone == Approx(1e-9));
  CHECK(cost.busy == Approx(1e-9));
}

TEST_CASE("machine files: mistakes are named with file and line") {
  const std::pair<const char*, const char*> bad[] = {
      {"\n[machines]\nx = 1\n", ":2: there is no machines"},
      {"[machine]\nranks = 4\n", ":2: there is no machine/ranks"},
      {"[machine]\nranks_per_node = 0\n", ":2: ranks_per_node is a number above 0 and up to 1e+06"},
      {"[machine]\nranks_per_node = \"four\"\n", ":2: ranks_per_node is a number above 0"},
      {"[machine]\nranks_per_node = 2.5\n", ":2: ranks_per_node is a whole number above 0"},
      {"machine = 4\n", ":1: machine is a block"},
      {"[link.wire]\nlatency_us = 1\n", ":1: there is no link/wire"},
      {"[link.node]\nlatency = 1\n", ":2: there is no link/node/latency"},
      {"[link.node]\ngigabytes_per_s = -1\n", ":2: gigabytes_per_s is a number above 0"},
      {"[link.node]\ngigabytes_per_s = nan\n", ":2: gigabytes_per_s is a number above 0"},
      {"[link.node]\ngigabytes_per_s = inf\n", ":2: gigabytes_per_s is a number above 0"},
      {"[link]\nnode = 3\n", ":2: node is a block"},
      {"[rack]\nname = \"a\"\n", ":1: racks are [[rack]] blocks"},
      {"rack = [1]\n", ":1: racks are [[rack]] blocks"},
      {"[[rack]]\nname = \"a\"\n", ":1: a rack has a name and a list of hosts"},
      {"[[rack]]\nhosts = [\"n0\"]\n", ":1: a rack has a name and a list of hosts"},
      {"[[rack]]\nname = \"\"\nhosts = []\n", ":1: a rack has a name and a list of hosts"},
      {"[[rack]]\nname = \"a\"\nhosts = [3]\n", ":3: hosts are names"},
      {"[[rack]]\nname = \"a\"\nhost = [\"n0\"]\n", ":3: there is no rack/host"},
      {"[[rack]]\nname = \"a\"\nhosts = [\"n0\"]\n[[rack]]\nname = \"b\"\nhosts = "
       "[\"n1\",\n\"n0\"]\n",
       ":7: host n0 is in two racks"},
      {"[machine\n", ":1: "},
      {"[machine]\nranks_per_node = 4\nranks_per_node = 4\n", ":3: "}};
  const TemporaryFolder folder;
  const std::string path = folder.file("machine.toml");
  for (const auto& [text, message] : bad) {
    write(path, text);
    INFO(text);
    const std::string expected = std::string(path).append(message);
    CHECK(cause_of(path, core::ExitCode::usage, true).substr(0, expected.size()) == expected);
  }
  const std::string absent = folder.file("absent.toml");
  CHECK(cause_of(absent, core::ExitCode::data, true).find("absent.toml: cannot be read") !=
        std::string::npos);
}

TEST_CASE("tuning files: written and read again") {
  const TemporaryFolder folder;
  const std::string path = folder.file("tuning.json");
  const comm::Tuning tuning{
      "8 ranks on 4 nodes",
      "bf16",
      "one",
      {{65536, {}, 0.001, 0.001},
       {std::int64_t{1} << 40, comm::parse_plan("direct2-ring4/1M"), 0.25, 1.0 / 3}}};
  app::write_tuning(tuning, path);
  const comm::Tuning read = app::read_tuning(path);
  CHECK(read.topology == tuning.topology);
  CHECK(read.wire == tuning.wire);
  CHECK(read.order == tuning.order);
  REQUIRE(read.entries.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(read.entries[i].bytes == tuning.entries[i].bytes);
    CHECK(read.entries[i].plan == tuning.entries[i].plan);
    CHECK(read.entries[i].seconds == tuning.entries[i].seconds);
    CHECK(read.entries[i].library_seconds == tuning.entries[i].library_seconds);
  }
}

TEST_CASE("tuning files: damaged and newer ones are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("tuning.json"), good = kTuning;
  write(path, good);
  CHECK(app::read_tuning(path).entries.front().plan.library());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    write(path, text);
    return cause_of(path, core::ExitCode::data, false);
  };
  const auto holds = [&](const std::string& text, const char* part) {
    INFO(text << " lacks " << part);
    CHECK(text.find(part) != std::string::npos);
    CHECK(text.find("tuning.json") != std::string::npos);
  };
  holds(changed("\"format\": 1", "\"format\": 2"), "was written by a newer isaribi");
  holds(changed("\"mpi\"", "\"tree4\""), "\"tree4\" is not ring, direct, shared, mpi or nccl");
  holds(changed("\"bytes\"", "\"byte\""), "is no tuning file");
  holds(changed("\"seconds\": 0.001", "\"seconds\": \"fast\""), "is no tuning file");
  holds(changed("\"format\": 1, ", ""), "is no tuning file");
  for (std::size_t length = 0; length < good.size(); length += 7) {  // cut short
    write(path, good.substr(0, length));
    holds(cause_of(path, core::ExitCode::data, false), "is no tuning file");
  }
  write(path, R"({"format": 1, "topology": "", "wire": "", "order": "any", "entries": []})");
  holds(cause_of(path, core::ExitCode::data, false), "holds no sizes");
  write(path, R"({"format": 1, "topology": "", "wire": "", "order": "any", "entries": 3})");
  holds(cause_of(path, core::ExitCode::data, false), "is no tuning file");
  CHECK(cause_of(folder.file("absent.json"), core::ExitCode::data, false).find("absent.json") !=
        std::string::npos);
}
