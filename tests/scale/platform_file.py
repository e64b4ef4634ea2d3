# SPDX-License-Identifier: MIT
"""Machines for SimGrid: a two-level fat tree like that of ABCI V, written as platform, host file and topology file.

Nodes of a rack reach each other at full rate; `uplinks` links of the same rate leave each rack. Racks may hold fewer nodes
than others. Ranks lie in blocks: node by node, rack by rack."""
import dataclasses
import pathlib


@dataclasses.dataclass
class Machine:
    rack_nodes: list            # nodes used in each rack
    ranks_per_node: int = 4
    uplinks: int = 12           # per rack; 32 nodes then share 12: a taper of 2.67 : 1
    node_bytes: float = 25e9    # bytes/s of a node's link, each way: two EDR rails as one
    loopback_bytes: float = 75e9  # bytes/s between two ranks of a node; flows do not share it
    latency: float = 1e-6       # seconds of a link
    ranks: int = 0              # 0: all that fit

    def __post_init__(self):
        if not self.rack_nodes or min(self.rack_nodes) < 1:
            raise ValueError("every rack needs a node")
        self.ranks = self.ranks or sum(self.rack_nodes) * self.ranks_per_node
        if not 1 <= self.ranks <= sum(self.rack_nodes) * self.ranks_per_node:
            raise ValueError(f"{self.ranks} ranks on {sum(self.rack_nodes)} nodes of {self.ranks_per_node}")

    @staticmethod
    def of_ranks(ranks, nodes_per_rack, **others):
        """As many full racks as `ranks` need, and the rest in a smaller one."""
        per_node = others.get("ranks_per_node", 4)
        nodes = -(-ranks // per_node)
        racks = [nodes_per_rack] * (nodes // nodes_per_rack)
        if nodes % nodes_per_rack:
            racks.append(nodes % nodes_per_rack)
        return Machine(rack_nodes=racks, ranks=ranks, **others)

    def hosts(self):
        """Names of the nodes of each rack; SimGrid counts the places of smaller racks, too."""
        width = max(self.rack_nodes)
        return [[f"n{rack * width + node}" for node in range(nodes)] for rack, nodes in enumerate(self.rack_nodes)]

    def platform(self):
        racks, width = len(self.rack_nodes), max(self.rack_nodes)
        # Levels; children per level; parents per level; parallel links per level.
        tree = f"2;{width},{racks};1,{self.uplinks};1,1" if racks > 1 else f"1;{width};1;1"
        return f"""<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="machine" prefix="n" suffix="" radical="0-{racks * width - 1}" speed="1Gf" topology="FAT_TREE"
           topo_parameters="{tree}" bw="{self.node_bytes:.0f}Bps" lat="{self.latency:g}s" sharing_policy="SPLITDUPLEX"
           loopback_bw="{self.loopback_bytes:.0f}Bps" loopback_lat="{self.latency / 2:g}s"/>
</platform>
"""

    def host_file(self):
        places = [host for rack in self.hosts() for host in rack for _ in range(self.ranks_per_node)]
        return "".join(f"{host}\n" for host in places[:self.ranks])

    def topology(self):
        return "\n".join(f'[[rack]]\nname = "r{rack}"\nhosts = [{", ".join(chr(34) + host + chr(34) for host in hosts)}]\n'
                         for rack, hosts in enumerate(self.hosts()))

    def node_cut_seconds(self, size):
        """What an allreduce of `size` bytes takes at least at the link of a node: 2 (N - 1) / N size / rate."""
        nodes = -(-self.ranks // self.ranks_per_node)
        return 2 * (nodes - 1) / nodes * size / self.node_bytes

    def rack_cut_seconds(self, size):
        racks = len(self.rack_nodes)
        return 2 * (racks - 1) / racks * size / (self.uplinks * self.node_bytes)

    def write(self, folder):
        """@return paths of the platform, the host file and the topology file"""
        paths = [pathlib.Path(folder) / name for name in ("platform.xml", "hosts", "topology.toml")]
        for path, text in zip(paths, (self.platform(), self.host_file(), self.topology())):
            path.write_text(text)
        return paths
