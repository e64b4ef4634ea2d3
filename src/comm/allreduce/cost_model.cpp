// SPDX-License-Identifier: MIT
#include "comm/allreduce/cost_model.hpp"

#include <algorithm>
#include <map>

namespace isaribi::comm {
namespace {

double cut(int parts, double bytes) {
  return parts > 1 ? 2.0 * (parts - 1) / parts * bytes : 0;
}

/// Ranks of the group's members, by position: where each begins and how many it has.
struct Member {
  int first = 0, positions = 0;
};

std::vector<Member> members_of(const Hierarchy& hierarchy, int level,
                               const Hierarchy::Group& group) {
  std::vector<Member> members;
  for (const int m : group.members) {
    if (level == 0) {
      members.push_back({m, 1});
    } else {
      const Hierarchy::Group& below = hierarchy.groups(level - 1)[static_cast<std::size_t>(m)];
      members.push_back({below.first_position, below.positions});
    }
  }
  return members;
}

/// Adds the traffic of one group: `per_pair` bytes from a member to another it talks to, spread
/// evenly over the ranks of the member.
void add_doors(const Topology& topology, const std::vector<Member>& members, Exchange exchange,
               double bytes, std::vector<std::map<int, double>>& out) {
  const std::size_t k = members.size();
  const double ring = bytes * static_cast<double>(k - 1) / static_cast<double>(k);
  for (std::size_t d = 0; d < topology.order.domains.size(); ++d) {
    const std::vector<int>& domain = topology.order.domains[d];
    for (std::size_t i = 0; i < k; ++i) {
      // Ranks of member i by domain.
      std::map<int, int> ranks;
      for (int p = 0; p < members[i].positions; ++p) {
        ++ranks[domain[static_cast<std::size_t>(members[i].first + p)]];
      }
      const auto leaves = [&](std::size_t j, int home) {
        return domain[static_cast<std::size_t>(members[j].first)] != home ||
               domain[static_cast<std::size_t>(members[j].first + members[j].positions - 1)] !=
                   home;
      };
      for (const auto& [home, count] : ranks) {
        const double share = static_cast<double>(count) / members[i].positions;
        double sent = 0;
        if (exchange == Exchange::ring) {
          if (leaves((i + 1) % k, home)) sent = ring;
        } else {
          for (std::size_t j = 0; j < k; ++j) {
            if (j != i && leaves(j, home)) sent += bytes / static_cast<double>(k);
          }
        }
        out[d][home] += share * sent;
      }
    }
  }
}

}  // namespace

std::vector<StageLoad> stage_loads(const Topology& topology, const Hierarchy& hierarchy,
                                   double bytes) {
  const auto& domains = topology.order.domains;
  std::vector<StageLoad> loads;
  for (int l = 0; l < hierarchy.levels(); ++l) {
    StageLoad load;
    load.exchange = hierarchy.level(l).exchange;
    std::vector<std::map<int, double>> out(domains.size());
    for (const Hierarchy::Group& group : hierarchy.groups(l)) {
      const auto k = static_cast<int>(group.members.size());
      if (k < 2) continue;
      const std::vector<Member> members = members_of(hierarchy, l, group);
      // The smallest kind of domain that holds the whole group.
      int link = 0;
      const auto first = static_cast<std::size_t>(group.first_position);
      const std::size_t last = first + static_cast<std::size_t>(group.positions) - 1;
      while (link < static_cast<int>(domains.size()) &&
             domains[static_cast<std::size_t>(link)][first] !=
                 domains[static_cast<std::size_t>(link)][last]) {
        ++link;
      }
      load.link = std::max(load.link, link);
      load.rounds = std::max(load.rounds, k - 1);
      for (const Member& m : members) {
        load.port_bytes = std::max(load.port_bytes, bytes / m.positions * (k - 1) / k);
      }
      add_doors(topology, members, load.exchange, bytes, out);
    }
    for (const std::map<int, double>& kind : out) {
      double most = 0;
      for (const auto& [home, sent] : kind) most = std::max(most, sent);
      load.door_bytes.push_back(most);
    }
    loads.push_back(load);
  }
  return loads;
}

StageTime stage_time(const MachineModel& machine, const StageLoad& load) {
  const auto link = static_cast<std::size_t>(load.link);
  StageTime time;
  time.busy = load.port_bytes * machine.links[link].port(load.exchange);
  for (std::size_t d = 0; d < load.door_bytes.size(); ++d) {
    time.busy = std::max(time.busy, load.door_bytes[d] * machine.links[d + 1].door(load.exchange));
  }
  time.all = time.busy + load.rounds * machine.links[link].latency(load.exchange);
  return time;
}

double predict_seconds(const MachineModel& machine, const Topology& topology,
                       const Hierarchy& hierarchy, double bytes, std::int64_t segments,
                       int window) {
  double first = 0, slowest = 0;
  double inside = 0, outside = 0;  // busy within the innermost domain, and on the network
  for (const StageLoad& load :
       stage_loads(topology, hierarchy, bytes / static_cast<double>(segments))) {
    const StageTime time = stage_time(machine, load);
    first += 2 * time.all;
    slowest = std::max(slowest, time.all / window);
    (load.link == 0 ? inside : outside) += 2 * time.busy;
  }
  const double each = std::max({inside, outside, slowest});
  return first + static_cast<double>(segments - 1) * each;
}

double node_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.nodes, bytes);
}

double rack_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.racks, bytes);
}

}  // namespace isaribi::comm
