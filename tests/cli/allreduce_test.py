#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""isaribi allreduce: what it writes, sums checked, and one message for every mistake, on 0, 2 and 3 ranks."""
import csv
import json
import os
import re
import unittest

import harness

SHORT = ("--budget", "1s")


class AllReduce(harness.CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.count = 0

    def train_auto(self, *arguments):
        """Three ranks, to step `train/steps`; returns what it said."""
        result = harness.run(3, "train", self.deck(run="auto"), "comm/allreduce=auto", *arguments)
        self.assert_fine(result)
        return result[1]

    def test_a_run_folder_keeps_its_plan(self):
        """Measured once; then the folder's file decides, whatever comm/tuning says, so that a restart adds in the same order."""
        self.assertIn("measuring for about", self.train_auto("train/steps=1"))
        kept = self.folder / "auto/allreduce.json"
        tuning = json.loads(kept.read_text())
        self.assertEqual([entry["bytes"] for entry in tuning["entries"]], [256 << 10, 1 << 20, 4 << 20])
        for entry in tuning["entries"]:
            entry["plan"] = "ring3/64K"
        kept.write_text(json.dumps(tuning))
        for entry in tuning["entries"]:
            entry["plan"] = "direct3"
        other = self.folder / "other.json"
        other.write_text(json.dumps(tuning))
        text = self.train_auto("train/steps=2", f"comm/tuning={other}")
        self.assertIn("256K: ring3/64K, 1M: ring3/64K", text)
        self.assertNotIn("measuring", text)
        kept.unlink()
        self.assertIn("256K: direct3, 1M: direct3", self.train_auto("train/steps=3", f"comm/tuning={other}"))
        self.assertEqual(json.loads(kept.read_text())["entries"][0]["plan"], "direct3")

    def test_a_plan_that_does_not_fit_makes_nothing(self):
        deck = self.deck(run="none")
        refused = harness.run(3, "train", deck, "comm/allreduce=direct2")
        self.assert_refused(refused, 2, 'hierarchy "direct2" leaves 2 groups of 3 ranks apart')
        refused = harness.run(3, "train", deck, "comm/allreduce=auto", f"comm/topology={self.folder / 'absent.toml'}")
        self.assert_refused(refused, 3, "absent.toml")
        self.assertFalse((self.folder / "none").exists())

    def digest(self, plan, bucket_kb):
        run = self.folder / f"bits-{plan.replace('/', '-')}-{bucket_kb}"
        self.assert_fine(harness.run(4, "train", self.deck(run=run), f"comm/allreduce={plan}", f"comm/bucket_kb={bucket_kb}",
                                     "train/gradient_type=f32", "train/steps=3"))
        code, text, _ = harness.run(0, "inspect", run, "--digest")
        self.assertEqual(code, 0)
        return text.split()[0]

    def test_plans_that_add_in_one_order_train_the_same_bits(self):
        """Whatever the levels, segments and buckets; a ring adds in another order, which f32 gradients show."""
        expected = self.digest("direct4", 0)
        for plan, bucket in (("direct2-direct2", 0), ("direct2-direct2/1K", 1), ("direct4", 1), ("shared4", 0), ("shared2-direct2/1K", 1)):
            self.assertEqual(self.digest(plan, bucket), expected, plan)
        self.assertNotEqual(self.digest("ring4", 0), expected)

    def allreduce(self, ranks, *arguments):
        """Runs it; returns (result, tuning file, rows of the table, figure)."""
        type(self).count += 1
        names = [self.folder / f"{self.count}.{kind}" for kind in ("json", "csv", "png")]
        result = harness.run(ranks, "allreduce", "--output", names[0], "--csv", names[1], "--figure", names[2], *SHORT, *arguments)
        self.assert_fine(result)
        with open(names[1], newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return result[1], json.loads(names[0].read_text()), rows, names[2].read_bytes()

    def test_three_ranks_check_their_sums_and_leave_files(self):
        text, tuning, rows, figure = self.allreduce(3, "--sizes", "16K:64K", "--check")
        self.assertRegex(text, r"(?m)^3 ranks on 1 node$")
        self.assertIn("sums checked with exact integers: all right", text)
        self.assertEqual([entry["bytes"] for entry in tuning["entries"]], [16384, 65536])
        self.assertEqual({int(row["bytes"]) for row in rows}, {16384, 65536})
        for row in rows:
            self.assertLessEqual(float(row["least_seconds"]), float(row["median_seconds"]))
            self.assertGreaterEqual(int(row["repetitions"]), 3)
        for entry in tuning["entries"]:
            fastest = min((row for row in rows if int(row["bytes"]) == entry["bytes"]), key=lambda row: float(row["median_seconds"]))
            self.assertEqual(entry["plan"], fastest["plan"])
            self.assertLessEqual(entry["seconds"], entry["library_seconds"])
        self.assertEqual(figure[:8], b"\x89PNG\r\n\x1a\n")

    def test_ranks_of_a_socket_come_together(self):
        """Ranks bound to two cores in turns, on a machine of which hwloc says that its two cores are two sockets."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.skipTest("one core")
        bind = (f'rank=${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}; export HWLOC_SYNTHETIC="pack:2 core:1 pu:1" HWLOC_THISSYSTEM=1; '
                f'if [ $((rank % 2)) = 0 ]; then core={cores[0]}; else core={cores[1]}; fi; exec taskset -c $core "$@"')
        result = harness.run(4, "allreduce", "--output", "", "--sizes", "16K", "--check", "--exhaustive", *SHORT,
                             before=("sh", "-c", bind, "bind"))
        self.assert_fine(result)
        self.assertIn("4 ranks on 1 node: up to 2 ranks a socket\n", result[1])
        self.assertRegex(result[1], r"(?m)^  out of a socket, direct +[\d.]+ us")
        for plan in ("direct2-direct2", "shared2-direct2", "direct4", "ring4"):
            self.assertRegex(result[1], rf"(?m)^  {plan} +[\d.]+ ms")

    def test_exhaustive_measures_every_plan(self):
        text, _, rows, _ = self.allreduce(3, "--sizes", "64K", "--exhaustive", "--check")
        plans = [row["plan"] for row in rows]
        self.assertEqual(len(plans), len(set(plans)))
        for plan in ("mpi", "ring3", "direct3", "direct3/16K"):
            self.assertIn(plan, plans)
        self.assertIn(f"{len(plans) - 1} of {len(plans) - 1} plans measured", text)

    def test_same_bits_leaves_out_rings(self):
        _, tuning, rows, _ = self.allreduce(3, "--sizes", "64K", "--same-bits", "--exhaustive")
        self.assertTrue(all("ring" not in row["plan"] for row in rows), rows)
        self.assertNotIn("ring", tuning["entries"][0]["plan"])

    def test_narrow_wire_and_other_types(self):
        _, tuning, _, _ = self.allreduce(3, "--sizes", "64K", "--wire", "bf16", "--check")
        self.assertEqual(tuning["wire"], "bf16")
        for kind in ("f64", "i32"):
            self.allreduce(2, "--sizes", "24K", "--type", kind, "--check", "--plan", "direct2/16K", "--plan", "ring2", "--plan", "shared2/8K")

    def test_named_plans_and_no_others(self):
        _, _, rows, _ = self.allreduce(3, "--sizes", "64K", "--plan", "ring3/16K")
        self.assertEqual([row["plan"] for row in rows], ["mpi", "ring3/16K"])
        _, tuning, rows, _ = self.allreduce(3, "--sizes", "64K", "--plan", "mpi")
        self.assertEqual([row["plan"] for row in rows], ["mpi"])
        self.assertEqual(tuning["entries"][0]["plan"], "mpi")

    def test_one_way(self):
        """Halves of plans beside the library's, checked; conventions of nccl-tests."""
        for collective in ("reduce_scatter", "all_gather"):
            table = self.folder / f"{collective}.csv"
            result = harness.run(3, "allreduce", "--collective", collective, "--sizes", "16K,64K", "--plan", "direct2-ring2/4K",
                                 "--plan", "ring3", "--check", "--csv", table, cwd=self.folder)
            self.assert_fine(result)
            self.assertIn(f"{collective} of 16K bytes", result[1])
            self.assertIn("6 results checked with exact integers: all right", result[1])
            with open(table, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.assertEqual([row["plan"] for row in rows], 2 * ["mpi", "direct2-ring2/4K", "ring3"])
            self.assertFalse((self.folder / "allreduce.json").exists(), "a tuning of something else")
            for line in result[1].splitlines():
                words = line.split()
                if words[:1] == ["ring3"]:  # median ms least ms algbw busbw
                    self.assertAlmostEqual(float(words[6]), float(words[5]) * 2 / 3, delta=0.1)

    def test_one_way_of_other_types_and_wires(self):
        for extra in (("--type", "f64"), ("--type", "i32"), ("--wire", "bf16"), ("--type", "f64", "--wire", "f32")):
            for collective in ("reduce_scatter", "all_gather"):
                self.assert_fine(harness.run(3, "allreduce", "--collective", collective, "--sizes", "8K", "--plan", "direct3", "--check",
                                             *extra, cwd=self.folder))

    def test_owners_go_along_the_plan(self):
        """K-FAC says what its factors and directions go along; the bits are the same in every placement where they promise it."""
        digests = set()
        for plan, said in (("direct2-direct2", "sums and copies along direct2-direct2"),
                           ("ring4", "sums by direct exchange (ring4 adds in an order that may depend on owners), copies along ring4")):
            for placement in ("mpd", "comm_opt"):
                run = self.folder / f"owners-{plan}-{placement}"
                result = harness.run(4, "train", self.deck(run=run), "optimizer/kind=kfac", f"kfac/placement={placement}",
                                     "kfac/factor_every=1", "kfac/inverse_every=1", f"comm/allreduce={plan}", "train/steps=3")
                self.assert_fine(result)
                self.assertIn(f"owners: {said}\n", result[1])
                if plan == "direct2-direct2":
                    digests.add(harness.run(0, "inspect", run, "--digest")[1].split()[0])
        self.assertEqual(len(digests), 1, "one order of sums, two placements, other bits")

    def test_sizes_named_twice_count_once(self):
        _, tuning, _, _ = self.allreduce(2, "--sizes", "16K,4K,16K", "--plan", "direct2")
        self.assertEqual([entry["bytes"] for entry in tuning["entries"]], [4096, 16384])

    def test_the_share_of_measured_plans_is_told(self):
        text, _, rows, _ = self.allreduce(3, "--sizes", "64K")
        found = re.search(r"(?m)^(\d+) of (\d+) plans measured \((\d+) by the search, ([\d.]+) %\)", text)
        self.assertIsNotNone(found, text)
        measured, plans, searched = (int(found[i]) for i in (1, 2, 3))
        self.assertEqual(measured, len(rows) - 1)
        self.assertEqual(searched, measured)
        self.assertAlmostEqual(float(found[4]), 100 * searched / plans, delta=0.05)

    def test_containment_measures_a_half_of_the_ranks(self):
        text, _, rows, _ = self.allreduce(6, "--sizes", "16K,64K", "--containment")
        found = re.search(r"holds in (\d) of 2\n", text)
        self.assertIsNotNone(found, text)
        self.assertEqual({row["ranks"] for row in rows}, {"6", "3"})
        told = [row["contained"] for row in rows if row["ranks"] == "3"]
        self.assertEqual(told.count("yes"), int(found[1]))
        self.assertEqual(told.count("yes") + told.count("no"), 2)
        self.assertTrue(all(not row["contained"] for row in rows if row["ranks"] == "6"))
        self.assertIn("no half of 2 ranks", self.allreduce(2, "--sizes", "16K", "--containment")[0])

    def test_racks_of_one_node_are_none_and_kept(self):
        kept = self.folder / "racks.toml"
        text, _, _, _ = self.allreduce(2, "--sizes", "16K", "--topology", "measure", "--save-topology", kept)
        self.assertRegex(text, r"racks by measurement \([\d.]+ s\): none looked for: fewer than four nodes")
        self.assertRegex(kept.read_text(), r'(?s)\[\[rack\]\]\nname = "r0"\nhosts = \["[^"]+"\]\n$')
        self.allreduce(2, "--sizes", "16K", "--topology", kept)

    def test_a_run_folder_keeps_its_racks(self):
        def train(steps):
            result = harness.run(2, "train", self.deck(run="measured"), "comm/allreduce=direct2", "comm/topology=measure",
                                 f"train/steps={steps}")
            self.assert_fine(result)
            return result[1]
        self.assertIn("looking for racks", train(1))
        kept = self.folder / "measured/topology.toml"
        written = kept.read_text()
        self.assertNotIn("looking for racks", train(2))
        kept.write_text('[[rack]]\nname = "r0"\nhosts = ["elsewhere"]\n')
        self.assertIn("looking for racks", train(3))
        self.assertEqual(kept.read_text(), written)

    def test_a_thread_for_sums_where_mpi_allows_none(self):
        """Asked for by name it is refused before anything is made; "auto" does without and says so; one rank needs none."""
        if "ISARIBI_FUNNELED" not in os.environ:
            self.skipTest("ISARIBI_FUNNELED names the library cli_funneled, as ctest does")
        funneled = ("env", f"LD_PRELOAD={os.environ['ISARIBI_FUNNELED']}", "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0")
        deck = self.deck(run="funneled")
        words = ("train", deck, "comm/allreduce=direct2", "train/steps=1")
        refused = harness.run(2, *words, "comm/progress=thread", before=funneled)
        self.assert_refused(refused, 2, "comm/progress=thread: this MPI library allows calls of the main thread only", "calls")
        self.assertFalse((self.folder / "funneled").exists())
        sizes = ("allreduce", "--output", "", "--sizes", "4K", "--plan", "direct2", "--overlap", "64K")
        refused = harness.run(2, *sizes, "--progress", "thread", before=funneled)
        self.assert_refused(refused, 2, "comm/progress=thread")
        self.assertNotIn("median", refused[1], "measured first and refused then")
        for done in (harness.run(2, *words, before=funneled), harness.run(2, *sizes, before=funneled)):
            self.assert_fine(done)
            self.assertIn("sums move on between layers", done[1] + done[2])
        self.assert_fine(harness.run(1, "train", self.deck(run="alone"), "comm/progress=thread", "train/steps=1", before=funneled))
        done = harness.run(2, *words, "comm/progress=thread")
        self.assert_fine(done)
        self.assertIn("a thread moves sums on", done[1])

    def test_containment_by_prediction(self):
        machine = self.folder / "machine.toml"
        machine.write_text("[machine]\nranks_per_node = 4\nnodes_per_rack = 4\n[link.inside]\ngigabytes_per_s = 75\n"
                           "[link.node]\ngigabytes_per_s = 25\nlatency_us = 5\n[link.rack]\ngigabytes_per_s = 30\n")
        plan = ("plan", "--ranks", "64", "--topology", machine, "--bytes", "16M", "--containment")
        code, text, error = harness.run(0, *plan)
        self.assertEqual(code, 0, error)
        steps = re.findall(r"(?m)^ +(\d+) (\S+) +(\d+) (\S+) +([\d.]+) %  (holds|fails)", text)
        self.assertEqual([(int(s[0]), int(s[2])) for s in steps], [(64, 32), (32, 16), (16, 8), (8, 4)])
        for step in steps:
            if step[4] != "3.0":  # rounded, on either side of the limit
                self.assertEqual(step[5], "holds" if float(step[4]) < 3 else "fails")
        self.assertIn(f"holds in {sum(s[5] == 'holds' for s in steps)} of 4 steps", text)
        self.assert_refused(harness.run(0, "plan", "--containment"), 2, "--containment")

    def test_prediction_with_sockets(self):
        """Sockets are levels of a machine file too; half a description of them is refused."""
        machine = self.folder / "sockets.toml"
        text = ("[machine]\nranks_per_socket = 4\nranks_per_node = 8\n[link.inside]\ngigabytes_per_s = 75\n[link.node]\n"
                "gigabytes_per_s = 25\nlatency_us = 5\n")
        plan = ("plan", "--ranks", "16", "--topology", machine, "--bytes", "16M")
        machine.write_text(text)
        self.assert_refused(harness.run(0, *plan), 2, "does not tell link/socket")
        machine.write_text(text.replace("socket = 4", "socket = 3") + "[link.socket]\ngigabytes_per_s = 60\n")
        self.assert_refused(harness.run(0, *plan), 2, "ranks_per_node is no multiple of ranks_per_socket")
        machine.write_text(text + "[link.socket]\ngigabytes_per_s = 60\n")
        code, said, error = harness.run(0, *plan)
        self.assertEqual(code, 0, error)
        self.assertIn("16 ranks on 2 nodes: up to 4 ranks a socket, 2 sockets a node", said)

    def test_without_a_launcher_the_library_is_all_there_is(self):
        _, tuning, rows, _ = self.allreduce(0, "--sizes", "4K", "--check")
        self.assertEqual([row["plan"] for row in rows], ["mpi"])
        self.assertEqual(tuning["entries"][0]["plan"], "mpi")

    def test_help_names_every_option(self):
        code, text, _ = harness.run(0, "allreduce", "--help")
        self.assertEqual(code, 0)
        for word in ("--sizes", "--plan", "--collective", "--exhaustive", "--budget", "--type", "--wire", "--same-bits", "--window", "--check",
                     "--topology", "--output", "--csv", "--figure", "--containment", "--save-topology", "measure", "Examples:", "gigabytes_per_s"):
            self.assertIn(word, text)

    def test_mistakes_in_options(self):
        for arguments, fragments in (
                (("--sizes", "64Q"), ("64Q",)), (("--sizes", ""), ("bytes",)), (("--sizes", "1M:64K"), ("1M:64K", "no range")),
                (("--sizes", "1:2:1"), ("1:2:1",)), (("--sizes", "1:2:3:4"), ("1:2:3:4",)), (("--sizes", "0"), ("0",)),
                (("--type", "f128"), ("f128",)), (("--type", "bf16"), ("no sum of bf16",)),
                (("--type", "i32", "--wire", "bf16"), ("i32", "bf16")), (("--wire", "f8"), ("f8",)),
                (("--plan", "tree3"), ("tree3", "ring, direct, shared, mpi or nccl")), (("--plan", "ring2/0"), ("0",)),
                (("--plan", "ring1", "--sizes", "4K"), ("ring1", "apart")),
                (("--budget", "-1"), ("--budget",)), (("--budget", "soon"), ("--budget",)), (("--budget", "2 weeks"), ("--budget",)), (("--window", "0"), ("--window",)),
                (("--collective", "scan", "--sizes", "4K"), ("scan", "reduce_scatter")),
                (("--collective", "reduce_scatter"), ("--plan",)),
                (("--collective", "all_gather", "--plan", "ring2", "--overlap", "1M"), ("--overlap", "all_reduce")),
                (("--fast",), ("--fast",)), (("--save-topology", "racks.toml"), ("--save-topology", "--topology measure")),
                (("--containment", "--plan", "mpi"), ("--containment", "--plan"))):
            with self.subTest(arguments=arguments):  # some on two ranks: one message there too
                ranks = 2 if arguments[0] in ("--type", "--plan", "--collective") else 0
                self.assert_refused(harness.run(ranks, "allreduce", "--output", "", *arguments), 2, *fragments)

    def test_mistakes_in_files(self):
        bad = self.folder / "bad.toml"
        bad.write_text("[link.node]\nspeed = 3\n")
        self.assert_refused(harness.run(2, "allreduce", "--topology", bad), 2, f"{bad}:2: there is no link/node/speed")
        absent = self.folder / "absent.toml"
        self.assert_refused(harness.run(2, "allreduce", "--topology", absent), 3, str(absent), "cannot be read")
        nowhere = self.folder / "nowhere" / "file"
        for option in ("--output", "--csv", "--figure", "--save-topology"):
            result = harness.run(2, "allreduce", option, nowhere, "--topology", "measure", cwd=self.folder)
            self.assert_refused(result, 3, str(nowhere), "cannot be written")
            self.assertNotIn("median", result[1], "measured first and refused then")


if __name__ == "__main__":
    unittest.main()
