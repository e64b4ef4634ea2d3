# SPDX-License-Identifier: MIT
"""Racks found by measurement: two behind thin uplinks, thin and very thin; none where all nodes are alike; kept in a file."""
import os
import pathlib
import tempfile
import unittest

import harness

ISARIBI = os.environ.get("ISARIBI", "isaribi")
RACKS = r"\nracks by measurement \([0-9.]+ s\): "


class RacksTest(unittest.TestCase):
    def found(self, *arguments, options=()):
        done = harness.cluster("run", *arguments, "--", ISARIBI, "allreduce", "--topology", "measure", "--sizes", "8K", "--output", "",
                               "--plan", "mpi", "--budget", "1", *options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return "\n" + done.stdout

    def test_two_racks(self):
        two = RACKS + r"2 racks: n0 n1 n2 n3 \| n4 n5 n6 n7; pairs inside at [0-9.]+ MB/s, across at [0-9.]+ MB/s\n"
        with tempfile.TemporaryDirectory() as folder:
            kept = pathlib.Path(folder) / "racks.toml"
            text = self.found("2racks", options=("--save-topology", kept))
            self.assertRegex(text, two)
            self.assertIn("16 ranks on 8 nodes in 2 racks: up to 2 ranks a node, 4 nodes a rack\n", text)
            self.assertIn('hosts = ["n4", "n5", "n6", "n7"]', kept.read_text())
        self.assertRegex(self.found("2racks", "--uplink", "50", "--per-node", "1"), two)

    def test_none_where_nodes_are_alike(self):
        text = self.found("4nodes")
        self.assertRegex(text, RACKS + r"none: all pairs of nodes alike, at [0-9.]+ MB/s\n")
        self.assertIn("8 ranks on 4 nodes: up to 2 ranks a node\n", text)


if __name__ == "__main__":
    harness.main()
