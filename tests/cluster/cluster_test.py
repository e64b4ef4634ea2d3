# SPDX-License-Identifier: MIT
"""The emulated clusters: what MPI sees in them, that links have the rates asked for, and that nothing stays behind."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import tomllib

import harness
from harness import CLUSTER, cluster

PROBE = os.environ.get("ISARIBI_PROBE", "cluster_probe")
RUN_FOLDER = pathlib.Path("/run/isaribi-cluster")


def output(*arguments):
    done = cluster(*arguments)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def objects(*arguments):
    return [json.loads(line) for line in output(*arguments).splitlines() if line.startswith("{")]


def traces():
    """All that an emulation could leave on this machine: namespaces, interfaces, mounts, files, processes."""
    found = set(subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines())
    found |= {line.split()[1] for line in subprocess.run(["ip", "-o", "link"], capture_output=True,
                                                         text=True).stdout.splitlines()}
    found |= {line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()}
    found |= {str(path) for folder in (RUN_FOLDER, pathlib.Path("/dev/shm"), pathlib.Path("/run/netns"))
              if folder.is_dir() for path in folder.glob("*") if "isaribi-cluster" in str(path) or "vader" in path.name}
    return found


def processes_with(argument):
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


class InsideTest(unittest.TestCase):
    """Host names, node split, files and settings, seen by the ranks."""

    def test_hosts_and_nodes_of_uneven_ranks(self):
        counts = [1, 3, 2, 2]
        ranks = objects("run", "4nodes", "--per-node", "1,3,2,2", "--", PROBE, "hosts")
        expected = [{"host": f"n{node}", "node_rank": rank, "node_size": count}
                    for node, count in enumerate(counts) for rank in range(count)]
        self.assertEqual(ranks, [{"rank": rank, **seen} for rank, seen in enumerate(expected)])

    def test_a_number_of_ranks_is_spread_evenly(self):
        ranks = objects("run", "3", "-n", 7, "--", PROBE, "hosts")
        self.assertEqual([rank["host"] for rank in ranks], ["n0"] * 3 + ["n1"] * 2 + ["n2"] * 2)

    def test_racks_are_named_in_the_topology_file(self):
        text = output("run", "2racks", "-n", "1", "--", "sh", "-c", 'cat "$ISARIBI_TOPOLOGY"')
        machine = tomllib.loads(text)
        self.assertEqual(machine["rack"], [{"name": "r0", "hosts": ["n0", "n1", "n2", "n3"]},
                                           {"name": "r1", "hosts": ["n4", "n5", "n6", "n7"]}])
        self.assertEqual(machine["link"]["node"], {"gigabytes_per_s": 0.0125})
        self.assertAlmostEqual(machine["link"]["rack"]["gigabytes_per_s"], 0.4 / 24, places=6)

    def test_rates_are_in_the_environment_of_every_rank(self):
        text = output("run", "2x1", "--per-node", "1", "--rate", "80", "--uplink", "40", "--", "sh", "-c",
                      "echo $ISARIBI_CLUSTER_NODE_MBIT $ISARIBI_CLUSTER_UPLINK_MBIT")
        self.assertEqual(text, "80 40\n" * 2)

    def test_the_exit_code_is_the_programs(self):
        self.assertEqual(cluster("run", "2", "--", "sh", "-c", "exit 5").returncode, 5)

    def test_a_plain_mpirun_starts_on_the_nodes(self):
        text = output("enter", "2", "--per-node", "1", "--", "sh", "-c", "hostname; mpirun -np 2 hostname")
        self.assertEqual(sorted(text.split()), ["launcher", "n0", "n1"])

    def test_arguments_arrive_as_they_were(self):
        self.assertEqual(output("run", "1", "-n", 1, "--", "printf", "%s|", "a b", "$HOME", "'", "-n"), "a b|$HOME|'|-n|")

    def test_refusals_say_what_to_do(self):
        for arguments in (["7nodes"], ["0"], ["2x"], ["2", "--per-node", "1,2,3"], ["2", "--per-node", "x"], ["2", "-n", "0"]):
            done = cluster("run", *arguments, "--", "true")
            self.assertEqual(done.returncode, 1, arguments)
            self.assertRegex(done.stderr, r"^cluster: .+\n  hint: ", arguments)


class RateTest(unittest.TestCase):
    """Payload per second; 4.4 % of a link are headers at 1500 bytes per packet."""

    def rate(self, layout, *pairs):
        return objects("run", layout, "--", PROBE, "exchange", "4e6", *pairs)[0]["mbit"]

    def assert_rate(self, measured, shaped):
        self.assertGreater(measured, 0.9 * shaped)
        self.assertLess(measured, 1.01 * shaped)

    def test_between_two_nodes(self):
        self.assert_rate(self.rate("4nodes", "0:2"), 200)

    def test_ranks_of_a_node_share_its_link(self):
        self.assert_rate(self.rate("4nodes", "0:2", "1:4"), 200)
        self.assert_rate(self.rate("4nodes", "2:0", "4:1"), 200)

    def test_links_carry_both_ways_at_once(self):
        self.assert_rate(self.rate("8nodes", "0:2", "3:1"), 2 * 100)

    def test_nodes_do_not_share_links(self):
        self.assert_rate(self.rate("8nodes", "0:2", "4:6", "8:10"), 3 * 100)

    def test_racks_share_their_uplink(self):
        self.assert_rate(self.rate("2racks", "0:8", "2:10", "4:12", "6:14"), 400 / 3)

    def test_inside_a_rack_the_uplink_does_not_matter(self):
        self.assert_rate(self.rate("2racks", "0:2", "4:6"), 2 * 100)

    def test_ranks_of_a_node_do_not_use_the_link(self):
        self.assertGreater(self.rate("4nodes", "0:1"), 2 * 200)


class NothingStaysTest(unittest.TestCase):
    def setUp(self):
        cluster("clean")
        self.before = traces()

    def start(self, seconds):
        """An emulation whose ranks sleep for a number of seconds that nobody else sleeps for."""
        process = subprocess.Popen([sys.executable, "-B", CLUSTER, "run", "2x1", "--per-node", "1", "--", "sleep", seconds],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait_for(lambda: len(processes_with(seconds)) >= 4)  # this one, mpirun, and two ranks
        return process

    def wait_for(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited in vain")
            time.sleep(0.05)

    def test_after_an_ordinary_end_and_a_failed_one(self):
        for program in ("true", "false"):
            cluster("run", "2racks", "--", program)
            self.assertEqual(traces(), self.before)

    def test_after_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.start("601")
            self.assertNotEqual(traces(), self.before)
            process.send_signal(number)
            self.assertEqual(process.wait(30), 128 + number)
            self.assertEqual(traces(), self.before)
            self.assertEqual(processes_with("601"), [])

    def test_clean_removes_killed_ones_and_only_those(self):
        killed, running = self.start("602"), self.start("603")
        killed.kill()
        killed.wait()
        self.assertNotEqual(processes_with("602"), [])
        self.assertRegex(output("clean"), r"^removed: \w+\n$")
        self.assertEqual(processes_with("602"), [])
        self.assertGreaterEqual(len(processes_with("603")), 4)
        self.assertEqual(output("clean"), "removed: nothing\n")
        running.terminate()
        running.wait(30)
        self.assertEqual(traces(), self.before)

    @unittest.skipUnless(shutil.which("setpriv"), "no setpriv")
    def test_without_the_right_it_is_skipped(self):
        for capability in ("net_admin", "sys_admin"):
            done = cluster("run", "2", "--", "true", before=["setpriv", "--bounding-set", f"-{capability}"])
            self.assertEqual(done.returncode, 77, done.stderr)
            self.assertRegex(done.stderr, r"^skipped: not allowed here: .+\n$")
            self.assertEqual(traces(), self.before, capability)


if __name__ == "__main__":
    harness.main()
