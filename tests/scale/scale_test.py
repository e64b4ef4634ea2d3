# SPDX-License-Identifier: MIT
"""The simulated machines: times that can be worked out by hand, sums, placement, and that mistakes are noticed."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import unittest

import tomllib

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from platform_file import Machine  # noqa: E402


def load_run():
    """The runner, a program without .py."""
    loader = importlib.machinery.SourceFileLoader("scale_run", str(HERE / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("scale_run", loader))
    loader.exec_module(module)
    return module


RUN = load_run()
DRIVER = pathlib.Path(RUN.options([]).driver).resolve()


def seconds(machine, count, mode, plan=None, **configuration):
    settings = {name if "/" in name else f"smpi/{name}": value for name, value in configuration.items()}
    found, _ = RUN.simulate(machine, DRIVER, RUN.driver_arguments(machine, count, 1, mode, [plan] if plan else []), settings,
                            timeout=100)
    assert len(found) == 1 and found[0]["ranks"] == machine.ranks and found[0]["count"] == count, found
    return found[0]["seconds"][0]


class MachineTest(unittest.TestCase):
    def test_full_racks_and_a_rest(self):
        machine = Machine.of_ranks(2 * 34 * 4 + 5, 34)
        self.assertEqual(machine.rack_nodes, [34, 34, 2])
        places = machine.host_file().split()
        self.assertEqual(len(places), 277)
        self.assertEqual(places[:5], ["n0"] * 4 + ["n1"])
        self.assertEqual(places[-5:], ["n68"] * 4 + ["n69"])

    def test_hosts_of_smaller_racks(self):
        racks = tomllib.loads(Machine([3, 1, 2], ranks_per_node=1).topology())["rack"]
        self.assertEqual([rack["hosts"] for rack in racks], [["n0", "n1", "n2"], ["n3"], ["n6", "n7"]])

    def test_the_machine_of_the_paper(self):
        machine = Machine.of_ranks(2048, 32)
        self.assertIn('topo_parameters="2;32,16;1,12;1,1"', machine.platform())
        self.assertAlmostEqual(machine.node_cut_seconds(100 << 20), 8.37e-3, places=5)

    def test_impossible_ones_are_refused(self):
        for racks, ranks in (([], 0), ([2, 0], 0), ([2], 9)):
            with self.assertRaises(ValueError):
                Machine(racks, ranks=ranks)


class SimulationTest(unittest.TestCase):
    def test_a_ring_over_one_node_each_takes_what_the_formula_says(self):
        """2 (P - 1) steps of n / P bytes over two links of 1 us; with acknowledgements on the way back 5 % slower."""
        ranks, size = 8, 64 << 20
        machine = Machine([ranks], ranks_per_node=1)
        steps = 2 * (ranks - 1)
        transfer = size / ranks / machine.node_bytes
        for acknowledgements, slower in ((0, 1), (1, 1.05)):
            measured = seconds(machine, size // 4, "shared", allreduce="lr", **{"network/crosstraffic": acknowledgements})
            self.assertAlmostEqual(measured / (steps * (slower * transfer + 2e-6)), 1, delta=0.002)

    def test_an_uplink_is_slower_than_a_node(self):
        """Two racks of 8 nodes behind one uplink: of a flat ring, one flow crosses it; of recursive doubling, eight do."""
        wide, narrow = (Machine([8, 8], ranks_per_node=1, uplinks=links) for links in (8, 1))
        for algorithm, least, most in (("lr", 0.99, 1.2), ("rdb", 2.0, 10.0)):
            ratio = seconds(narrow, 1 << 22, "shared", allreduce=algorithm) / seconds(wide, 1 << 22, "shared",
                                                                                     allreduce=algorithm)
            self.assertGreater(ratio, least, algorithm)
            self.assertLess(ratio, most, algorithm)

    def test_sums_of_64_ranks_and_of_ragged_racks(self):
        for machine in (Machine.of_ranks(64, 8), Machine([3, 2, 1], ranks_per_node=2), Machine.of_ranks(31, 4)):
            bound = max(machine.node_cut_seconds(4e5), machine.rack_cut_seconds(4e5))
            for selector in ("ompi", "mpich", "mvapich2"):
                self.assertGreater(seconds(machine, 100000, "check", **{"coll-selector": selector}), bound)

    def test_our_plans_sum_on_ragged_racks(self):
        for machine, plan in ((Machine.of_ranks(64, 8), "direct4-ring8-direct2/64K"),
                              (Machine([3, 2, 1], ranks_per_node=2), "direct2-ring3-direct3/32K"),
                              (Machine.of_ranks(31, 4), "direct4-ring4-direct2")):
            bound = max(machine.node_cut_seconds(4e5), machine.rack_cut_seconds(4e5))
            self.assertGreater(seconds(machine, 100000, "check", plan), bound)

    def test_segments_hide_what_is_inside_a_node(self):
        """With segments the sum comes within 2 % of the bound of the node cut, and never below it; without, it cannot."""
        machine = Machine.of_ranks(32, 8)
        whole, cut = (seconds(machine, 16 << 20, "shared", f"direct4-direct8{segment}") for segment in ("", "/4M"))
        bound = machine.node_cut_seconds(64 << 20)
        self.assertLess(bound, cut)
        self.assertLess(cut, 1.02 * bound)
        self.assertGreater(whole, 1.08 * bound)

    def test_shared_memory_changes_no_time(self):
        machine = Machine.of_ranks(64, 8)
        self.assertEqual(seconds(machine, 1 << 18, "shared"), seconds(machine, 1 << 18, "check"))

    def test_memory_is_bounded(self):
        """16 ranks of 64 MiB in and out are 2 GiB; in 512 MiB they fit when shared, else the run ends with a reason."""
        machine = Machine.of_ranks(16, 4)
        for mode in ("shared", "check"):
            with self.subTest(mode):
                arguments = [DRIVER, RUN.driver_arguments(machine, 1 << 24, 1, mode), {"smpi/allreduce": "lr"}, 512 << 20, 100]
                if mode == "shared":
                    RUN.simulate(machine, *arguments)
                else:
                    with self.assertRaisesRegex(RuntimeError, "bad_alloc"):
                        RUN.simulate(machine, *arguments)

    def test_a_failing_rank_fails_the_run(self):
        with self.assertRaisesRegex(RuntimeError, "usage: allreduce"):
            RUN.simulate(Machine([2]), DRIVER, ["12"], timeout=60)


if __name__ == "__main__":
    unittest.main()
