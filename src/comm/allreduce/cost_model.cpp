// SPDX-License-Identifier: MIT
#include "comm/allreduce/cost_model.hpp"

#include <algorithm>
#include <cmath>
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

/// Adds the traffic of one group that leaves domains, what a member sends being spread evenly over
/// its ranks.
void add_doors(const Topology& topology, const std::vector<Member>& members, Exchange exchange,
               std::vector<std::map<int, double>>& out) {
  const std::size_t k = members.size();
  const double ring = static_cast<double>(k - 1) / static_cast<double>(k);
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
            if (j != i && leaves(j, home)) sent += 1 / static_cast<double>(k);
          }
        }
        out[d][home] += share * sent;
      }
    }
  }
}

}  // namespace

std::vector<StageLoad> stage_loads(const Topology& topology, const Hierarchy& hierarchy) {
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
        load.port = std::max(load.port, (k - 1.0) / k / m.positions);
      }
      add_doors(topology, members, load.exchange, out);
    }
    for (const std::map<int, double>& kind : out) {
      double most = 0;
      for (const auto& [home, sent] : kind) most = std::max(most, sent);
      load.door.push_back(most);
    }
    loads.push_back(load);
  }
  return loads;
}

namespace {

/// Seconds of one stage: of a segment alone, and of the tightest place for a further one.
struct StageTime {
  double all = 0, busy = 0;
};

StageTime stage_time(const MachineModel& machine, const StageLoad& load, double bytes) {
  StageTime time;
  const auto pass = [&](std::size_t link, double share) {
    const LinkCost& cost = machine.links[link].of(load.exchange);
    time.all = std::max(time.all, share * bytes * cost.alone);
    time.busy = std::max(time.busy, share * bytes * cost.busy);
  };
  if (load.link == 0) pass(0, load.port);
  for (std::size_t d = 0; d < load.door.size(); ++d) pass(d + 1, load.door[d]);
  time.all +=
      load.rounds * machine.links[static_cast<std::size_t>(load.link)].of(load.exchange).latency;
  return time;
}

double misfit(const MachineModel& machine, const std::vector<Sample>& samples) {
  double sum = 0;
  for (const Sample& s : samples) {
    const double error =
        std::log(std::max(predict_seconds(machine, s.loads, s.bytes, s.segments, s.window), 1e-12) /
                 s.seconds);
    sum += error * error;
  }
  return sum;
}

}  // namespace

double predict_seconds(const MachineModel& machine, const std::vector<StageLoad>& loads,
                       double bytes, std::int64_t segments, int window) {
  double first = 0, slowest = 0;
  double inside = 0, outside = 0;  // busy within the innermost domain, and on the network
  for (const StageLoad& load : loads) {
    const StageTime time = stage_time(machine, load, bytes / static_cast<double>(segments));
    first += 2 * time.all;
    slowest = std::max(slowest, time.all / window);
    (load.link == 0 ? inside : outside) += 2 * time.busy;
  }
  const double each = std::max({inside, outside, slowest});
  return first + static_cast<double>(segments - 1) * each;
}

MachineModel fit_model(MachineModel start, const std::vector<Sample>& samples) {
  constexpr int kPasses = 200;
  constexpr double kSteps[] = {0.1, 0.4, 0.8, 0.95, 0.99, 1.01, 1.05, 1.25, 2.5, 10};
  constexpr double kTrust = 1e-4;  // in the start, against one sample
  std::vector<double*> parameters;
  for (LinkModel& l : start.links) {
    for (LinkCost* c : {&l.ring, &l.direct}) {
      for (double* p : {&c->latency, &c->alone, &c->busy}) parameters.push_back(p);
    }
  }
  std::vector<double> origin;
  for (const double* p : parameters) origin.push_back(*p);
  const auto cost = [&] {
    double sum = misfit(start, samples);
    for (std::size_t i = 0; i < origin.size(); ++i) {
      const double moved = std::log(*parameters[i] / origin[i]);
      sum += kTrust * moved * moved;
    }
    return sum;
  };
  double best = cost();
  for (int pass = 0; pass < kPasses; ++pass) {
    const double before = best;
    for (double* p : parameters) {
      const double old = *p;
      double kept = old;
      for (const double step : kSteps) {
        *p = old * step;
        const double now = cost();
        if (now < best) {
          best = now;
          kept = *p;
        }
      }
      *p = kept;
    }
    if (best > before * (1 - 1e-6)) break;
  }
  return start;
}

double node_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.nodes, bytes);
}

double rack_cut_bytes(const Topology& topology, double bytes) {
  return cut(topology.racks, bytes);
}

}  // namespace isaribi::comm
