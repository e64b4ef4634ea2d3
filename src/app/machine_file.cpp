// SPDX-License-Identifier: MIT
#include "app/machine_file.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/error.hpp"
#include "io/report/files.hpp"

namespace isaribi::app {
namespace {

constexpr const char* kHint = "isaribi allreduce --help shows a machine file";

class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  MachineFile read() {
    toml::table root;
    try {
      root = toml::parse_file(path_);
    } catch (const toml::parse_error& error) {
      if (error.source().begin.line == 0)
        throw core::DataError(path_, "cannot be read", std::string(error.description()));
      throw core::UsageError(
          fmt::format("{}:{}: {}", path_, error.source().begin.line, error.description()), kHint);
    }
    only(root, {"machine", "link", "rack"}, "");
    MachineFile file;
    if (const toml::table* machine = table(root, "machine")) {
      only(*machine, {"ranks_per_socket", "ranks_per_node", "nodes_per_rack"}, "machine/");
      file.ranks_per_socket = whole_number(*machine, "ranks_per_socket");
      file.ranks_per_node = whole_number(*machine, "ranks_per_node");
      file.nodes_per_rack = whole_number(*machine, "nodes_per_rack");
    }
    if (const toml::table* links = table(root, "link")) {
      only(*links, {"inside", "socket", "node", "rack"}, "link/");
      file.inside = link(*links, "inside");
      file.socket = link(*links, "socket");
      file.node = link(*links, "node");
      file.rack = link(*links, "rack");
    }
    if (const toml::node* racks = root.get("rack")) read_racks(*racks, file);
    return file;
  }

 private:
  [[noreturn]] void refuse(const toml::node& at, const std::string& what) const {
    throw core::UsageError(fmt::format("{}:{}: {}", path_, at.source().begin.line, what), kHint);
  }
  void only(const toml::table& t, std::initializer_list<std::string_view> known,
            const std::string& where) const {
    for (const auto& [key, node] : t) {
      bool found = false;
      for (const std::string_view name : known) found = found || key.str() == name;
      if (!found) refuse(node, fmt::format("there is no {}{}", where, key.str()));
    }
  }
  const toml::table* table(const toml::table& t, const char* name) const {
    const toml::node* node = t.get(name);
    if (node != nullptr && !node->is_table()) refuse(*node, fmt::format("{} is a block", name));
    return node == nullptr ? nullptr : node->as_table();
  }
  double number(const toml::table& t, const char* name, double most) const {
    const toml::node* node = t.get(name);
    if (node == nullptr) return 0;
    const auto value = node->value<double>();
    if (!value || !(*value > 0) || *value > most)
      refuse(*node, fmt::format("{} is a number above 0 and up to {:g}", name, most));
    return *value;
  }
  int whole_number(const toml::table& t, const char* name) const {
    const double value = number(t, name, 1e6);
    if (value != std::floor(value))
      refuse(*t.get(name), fmt::format("{} is a whole number above 0", name));
    return static_cast<int>(value);
  }
  MachineFile::Link link(const toml::table& links, const char* name) const {
    MachineFile::Link link;
    if (const toml::table* t = table(links, name)) {
      only(*t, {"gigabytes_per_s", "latency_us"}, fmt::format("link/{}/", name));
      link.bytes_per_s = 1e9 * number(*t, "gigabytes_per_s", 1e6);
      link.latency_s = 1e-6 * number(*t, "latency_us", 1e9);
    }
    return link;
  }
  void read_racks(const toml::node& racks, MachineFile& file) const {
    if (!racks.is_array()) refuse(racks, "racks are [[rack]] blocks");
    for (const toml::node& node : *racks.as_array()) {
      const toml::table* rack = node.as_table();
      if (rack == nullptr) refuse(node, "racks are [[rack]] blocks");
      only(*rack, {"name", "hosts"}, "rack/");
      const auto name = (*rack)["name"].value<std::string>();
      const toml::array* hosts = (*rack)["hosts"].as_array();
      if (!name || name->empty() || hosts == nullptr)
        refuse(node, "a rack has a name and a list of hosts");
      for (const toml::node& host : *hosts) {
        const auto text = host.value<std::string>();
        if (!text) refuse(host, "hosts are names");
        if (!file.rack_of_host.emplace(*text, *name).second)
          refuse(host, fmt::format("host {} is in two racks", *text));
      }
    }
  }

  std::string path_;
};

}  // namespace

comm::MachineModel MachineFile::model(const comm::Topology& topology) const {
  comm::MachineModel machine;
  const auto per_byte = [](const Link& l) { return l.bytes_per_s > 0 ? 1 / l.bytes_per_s : 0; };
  // Without a kind "node" each rank has a node to itself, unless there is only one node.
  const bool network_only =
      topology.nodes > 1 &&
      std::find(topology.kinds.begin(), topology.kinds.end(), "node") == topology.kinds.end();
  for (std::size_t c = 0; c <= topology.kinds.size(); ++c) {
    // Messages that leave kind c - 1; below the first kind, those between ranks.
    const std::string leaves = c > 0 ? topology.kinds[c - 1] : network_only ? "node" : "";
    const Link& link = leaves == "node"     ? node
                       : leaves == "rack"   ? rack
                       : leaves == "socket" ? socket
                                            : inside;
    const comm::LinkCost cost{link.latency_s, per_byte(link), per_byte(link)};
    machine.links.push_back({cost, cost, cost, cost, cost});
  }
  return machine;
}

MachineFile read_machine_file(const std::string& path) {
  return path.empty() ? MachineFile{} : Reader(path).read();
}

void write_racks(const std::map<std::string, std::string>& rack_of_host, const std::string& path) {
  std::map<std::string, std::string> hosts;  // by rack, as written
  for (const auto& [host, rack] : rack_of_host) {
    std::string& list = hosts[rack];
    list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", host);
  }
  std::string text = "# Racks of hosts, as isaribi measured them (comm/topology=measure).\n";
  for (const auto& [rack, list] : hosts)
    text += fmt::format("[[rack]]\nname = \"{}\"\nhosts = [{}]\n", rack, list);
  report::replace_text(path, text);
}

const char* const kMachineFileExample =
    R"(A machine file (all of it optional; hosts not listed count by Slurm's topology):
  [machine]                 # isaribi plan --ranks N
  ranks_per_socket = 2      # with [link.socket]
  ranks_per_node = 4
  nodes_per_rack = 34
  [link.inside]             # one rank to another of its socket (of its node), one way
  gigabytes_per_s = 75
  latency_us = 5
  [link.socket]             # in and out of a socket, all its ranks together
  gigabytes_per_s = 60
  latency_us = 5
  [link.node]               # in and out of a node
  gigabytes_per_s = 25
  latency_us = 5
  [link.rack]               # in and out of a rack, all uplinks together
  gigabytes_per_s = 300
  latency_us = 5
  [[rack]]
  name = "r0"
  hosts = ["n0", "n1"]
)";

}  // namespace isaribi::app
