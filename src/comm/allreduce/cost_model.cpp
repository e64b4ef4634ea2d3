// SPDX-License-Identifier: MIT
#include "comm/allreduce/cost_model.hpp"

#include <algorithm>
#include <cmath>

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

/// Adds the traffic of one group that leaves domains of one kind, to the sum of each domain. What a
/// member sends is spread evenly over its ranks.
void add_doors(const std::vector<int>& domain, const std::vector<Member>& members,
               Exchange exchange, std::vector<double>& out) {
  const auto at = [&](int position) { return domain[static_cast<std::size_t>(position)]; };
  const auto last = [](const Member& m) { return m.first + m.positions - 1; };
  const auto k = static_cast<double>(members.size());
  for (std::size_t i = 0; i < members.size(); ++i) {
    const Member& me = members[i];
    for (int first = me.first, end = first; first <= last(me); first = end) {
      const int home = at(first);  // ranks [first, end) of this member are in it
      while (end <= last(me) && at(end) == home) ++end;
      const auto leaves = [&](const Member& other) {
        return at(other.first) != home || at(last(other)) != home;
      };
      double sent = 0;
      if (exchange == Exchange::ring) {
        if (leaves(members[(i + 1) % members.size()])) sent = (k - 1) / k;
      } else {
        const auto others = std::count_if(members.begin(), members.end(), leaves);
        sent = static_cast<double>(others - (leaves(me) ? 1 : 0)) / k;
      }
      out[static_cast<std::size_t>(home)] += sent * (end - first) / me.positions;
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
    std::vector<std::vector<double>> out;  // by kind of domain, by domain
    for (const std::vector<int>& domain : domains) {
      out.emplace_back(static_cast<std::size_t>(domain.back()) + 1, 0.0);
    }
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
      for (std::size_t d = 0; d < domains.size(); ++d) {
        add_doors(domains[d], members, load.exchange, out[d]);
      }
    }
    for (const std::vector<double>& kind : out) {
      load.door.push_back(*std::max_element(kind.begin(), kind.end()));
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
    for (const Exchange e : kExchanges) {
      LinkCost* c = &l.of(e);
      for (double* p : {&c->latency, &c->alone, &c->busy}) {
        if (*p > 0) parameters.push_back(p);
      }
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
