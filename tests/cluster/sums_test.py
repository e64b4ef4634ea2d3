# SPDX-License-Identifier: MIT
"""Sums across emulated nodes: every plan of uneven nodes, of prime numbers of ranks and of two racks, checked with integers."""
import os
import unittest

import harness

ISARIBI = os.environ.get("ISARIBI", "isaribi")


class SumsTest(unittest.TestCase):
    def check(self, topology, *arguments, options=("--exhaustive",)):
        done = harness.cluster("run", *arguments, "--", ISARIBI, "allreduce", "--sizes", "8K", "--check", "--budget", "1",
                       "--output", "", *options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(topology + "\n", done.stdout)
        self.assertRegex(done.stdout, r"\n[0-9]+ sums checked with exact integers: all right\n")

    def test_uneven_ranks_per_node(self):
        self.check("8 ranks on 4 nodes: up to 3 ranks a node", "4nodes", "--per-node", "1,3,2,2")

    def test_seven_and_thirteen_ranks(self):
        self.check("7 ranks on 5 nodes: up to 2 ranks a node", 5, "-n", 7)
        self.check("13 ranks on 5 nodes: up to 3 ranks a node", 5, "-n", 13, options=("--exhaustive", "--wire", "bf16"))

    def test_two_racks(self):
        self.check("16 ranks on 8 nodes in 2 racks: up to 2 ranks a node, 4 nodes a rack", "2racks", options=(
            "--plan", "direct2-direct4-direct2", "--plan", "direct2-ring4-direct2", "--plan", "ring16", "--plan", "direct8-direct2",
            "--plan", "direct2-ring4-direct2/4K"))


if __name__ == "__main__":
    harness.main()
