#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""--help, --version and usage errors: on any machine, without MPI and GPU; and the page and files that verbs make."""
import json
import pathlib
import re
import unittest

import harness

VERBS = ("train", "evaluate", "convert", "inspect", "plan", "selftest", "report")
# With this no MPI can start: whoever touches it fails.
NO_MPI = dict(harness.ENVIRONMENT, OMPI_MCA_pml="none_of_those_there_are", MPICH_CVAR_NO_SUCH="1")


class Help(unittest.TestCase):
    def test_help_of_each_verb(self):
        for verb in (*VERBS, "help"):
            with self.subTest(verb=verb):
                code, stdout, stderr = harness.run(0, verb, "--help", environment=NO_MPI)
                self.assertEqual((code, stderr), (0, ""))
                self.assertIn("Examples:\n  ", stdout)
                self.assertIn(f"isaribi {verb}", stdout)
        for source in ("idx", "cifar10", "cifar100", "png"):
            code, stdout, _ = harness.run(0, "convert", source, "--help", environment=NO_MPI)
            self.assertEqual(code, 0)
            self.assertIn(f"isaribi convert {source}", stdout)

    def test_help_lists_verbs_and_exit_codes(self):
        code, stdout, _ = harness.run(0, "--help", environment=NO_MPI)
        self.assertEqual(code, 0)
        for word in (*VERBS, "75", "Examples:"):
            self.assertIn(word, stdout)

    def test_help_of_the_deck(self):
        code, stdout, _ = harness.run(0, "help", "deck", environment=NO_MPI)
        self.assertEqual(code, 0)
        for word in ("[data.augment]", "warmup_epochs", "[[layer]]", "takes one of sgd, adamw, kfac, ekfac, foof; default \"sgd\""):
            self.assertIn(word, stdout)

    def test_version(self):
        code, stdout, stderr = harness.run(0, "--version", environment=NO_MPI)
        self.assertEqual((code, stderr), (0, ""))
        for word in ("isaribi 0.", "compiler", "flags", "mpi", "hdf5", "kokkos", "backends", "reference", "simd", "cuda"):
            self.assertIn(word, stdout)
        if "avx2" in pathlib.Path("/proc/cpuinfo").read_text():
            self.assertIn("avx2", stdout)

    def test_version_with_an_instruction_set_that_is_not_there(self):
        code, stdout, stderr = harness.run(0, "--version", environment=dict(NO_MPI, ISARIBI_ISA="abacus"))
        self.assertEqual((code, stderr), (0, ""))
        self.assertIn("compiler", stdout)
        if "avx2" in pathlib.Path("/proc/cpuinfo").read_text():
            self.assertIn('unknown instruction set "abacus"', stdout)

    def test_version_on_two_ranks_once(self):
        code, stdout, _ = harness.run(2, "--version")
        self.assertEqual(code, 0)
        self.assertEqual(stdout.count("compiler "), 1)


class Usage(harness.CliTest):
    def test_wrong_command_lines(self):
        cases = {
            "no verb": ([], ["no verb", "isaribi --help"]),
            "unknown verb": (["trian"], ["unknown verb 'trian'", "did you mean train"]),
            "unknown option": (["train", self.deck(), "--resum"], ["--resum", "isaribi train --help"]),
            "missing argument": (["train"], ["deck", "isaribi train --help"]),
            "not a number": (["plan", self.deck(), "--ranks", "many"], ["--ranks"]),
            "no ranks": (["plan", self.deck(), "--ranks", "0"], ["--ranks"]),
            "walltime": (["train", self.deck(), "--walltime", "soon"], ["--walltime"]),
            "deadline": (["train", self.deck(), "--deadline", "tomorrow"], ["--deadline"]),
            "backend": (["train", self.deck(), "--backend", "gpu"], ["gpu", "reference"]),
            "selftest": (["selftest", "--backend", "gpu"], ["gpu", "reference"]),
        }
        for name, (arguments, fragments) in cases.items():
            for ranks in (0, 2):
                with self.subTest(case=name, ranks=ranks):
                    self.assert_refused(harness.run(ranks, *arguments), 2, *fragments)

    def test_a_whole_run(self):
        """What train leaves behind, evaluate and inspect it, and the report."""
        deck = self.deck(run="whole")
        run = self.folder / "whole"
        self.assert_fine(harness.run(2, "train", deck))
        status = json.loads((run / "status.json").read_text())
        self.assertEqual((status["state"], status["exit"], status["attempts"]), ("finished", 0, 1))
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual({r["kind"] for r in records}, {"train", "test"})
        self.assertIn("batch = 32", (run / "deck.toml").read_text())
        code, stdout, _ = harness.run(2, "evaluate", run)
        self.assertEqual(code, 0)
        self.assertIn(f"accuracy {100 * status['test_accuracy']:.2f} %", stdout)
        code, stdout, _ = harness.run(0, "inspect", run, "--digest")
        self.assertRegex(stdout, r"^[0-9a-f]{64}  ")
        checkpoint = stdout.split()[1]
        self.assertIn("no difference", harness.run(0, "inspect", run, checkpoint)[1])
        self.assertIn("weights/conv1/weight", harness.run(0, "inspect", checkpoint, "--all")[1])
        self.assertIn("120 of u8 [12, 12, 1]", harness.run(0, "inspect", self.train)[1])
        self.assert_fine(harness.run(0, "report", run))
        page = (run / "report" / "index.html").read_text()
        self.assertNotIn("http://", page.replace("http://www.w3.org", ""))
        self.assertGreater((run / "report" / "loss.png").stat().st_size, 5000)
        self.assertTrue((run / "report" / "metrics.csv").read_text().count("\n") > len(records))

    def test_who_wins(self):
        """default < deck < checkpoint < command line, and what a restart refuses."""
        deck = self.deck("first.toml", run="wins")
        self.assert_fine(harness.run(0, "train", deck, "train/steps=1"))
        text = self.deck_text(run="wins").replace("epochs = 1", "epochs = 2").replace("lr = 0.05", "lr = 0.01")
        deck = self.deck("second.toml", text)
        code, stdout, stderr = harness.run(0, "train", deck, "optimizer/lr=0.02", "train/steps=2")
        self.assertEqual(code, 0, stderr)
        self.assertRegex(stderr, r"second\.toml:\d+: train/epochs = 2 has no effect")
        self.assertRegex(stdout, r"train/epochs +1 +checkpoint step-0+1\.h5")
        self.assertRegex(stdout, r"optimizer/lr +0\.02 +command line")
        self.assertRegex(stdout, r"train/steps +2 +command line")
        self.assertRegex(stdout, r"optimizer/momentum +0\.9 +default")
        for change, name in ((("seed", "run/seed=9"), "run/seed"), (("batch", "data/batch=16"), "data/batch")):
            for ranks in (0, 2):
                self.assert_refused(harness.run(ranks, "train", deck, change[1]), 2, name, "cannot be changed")
        other = self.deck("third.toml", text.replace("channels = 4", "channels = 5"))
        self.assert_refused(harness.run(2, "train", other), 2, "third.toml", "layer", "cannot be changed")
        self.assert_refused(harness.run(2, "train", deck, 'checkpoint/restart=never'), 2, "checkpoint/restart", "hint")
        swapped = harness.run(2, "train", deck, f"data/train={self.test}")
        self.assert_refused(swapped, 3, "data/train", "started with")

    def test_plan_of_second_order(self):
        deck = self.deck("kfac_plan.toml", self.deck_text(train="absent.h5", test="absent.h5"))
        words = ["--sample", "12,12,1", "--samples", "1000", "--ranks", "4", "optimizer/kind=kfac", "kfac/placement=hybrid"]
        code, stdout, _ = harness.run(0, "plan", deck, *words)
        self.assertEqual(code, 0)
        self.assertIn("2 rank(s) hold each inverse", stdout)
        self.assertRegex(stdout, r"conv1 +10 x 10 +4 x 4")  # 3 x 3 taps of one channel and the bias; 4 channels
        self.assertRegex(stdout, r"predicted per step beside forward and backward: [0-9.]+ ms")
        self.assert_refused(harness.run(0, "plan", deck, *words, "kfac/hybrid_fraction=0.3"), 2, "kfac/hybrid_fraction")

    def test_plan_of_shards(self):
        deck = pathlib.Path(__file__).resolve().parents[2] / "inputs/fashion_mnist/autoencoder_sgd.toml"

        def plan(ranks, *words):
            code, stdout, stderr = harness.run(0, "plan", deck, "--sample", "28,28,1", "--samples", "60000", "--ranks", ranks,
                                               "data/train=absent.h5", *words)
            self.assertEqual(code, 0, stderr)
            return stdout
        wide = [(784, 1000), (1000, 500), (500, 250), (250, 500), (500, 1000), (1000, 784)]  # all but those of the code
        scalars, own = sum(o * (i + 1) for i, o in wide), sum(o // 4 * (i + 1) for i, o in wide)  # of rank 0
        factors = 250 * sum(i + o // 4 for i, o in wide)
        text = plan(4)
        self.assertIn(f"{0.75 * 4 * factors / 2**20:.2f} MiB  (n - 1) / n of what the gradients of 6 weight(s)", text)
        self.assertIn(f"{0.75 * 4 * scalars / 2**20:.2f} MiB  (n - 1) / n of their {scalars} scalars", text)
        self.assertIn("; none within a node", text)
        lines = sum(-(-4 * n // 64) * 64 for i, o in wide for n in (i * o, o))
        self.assertIn(f"{lines / 2**20:.2f} MiB  weights in shards: one copy for all ranks of a node", text)
        private = plan(4, "comm/shards=private")
        self.assertIn(f"{scalars} scalars, updated\n", private)
        self.assertNotIn("node (comm/shards)", private)
        rest = 8 * (2837314 - scalars)
        self.assertIn(f"{rest / 2**10:.2f} KiB  as f64", text)
        self.assertRegex(text, rf"their gradients +{(rest + 8 * own) / 2**20:.2f} MiB")
        # Micro-batches exchange as many samples as the batch that they make.
        large = ["data/batch=2000", "data/drop_last=true"]
        counts = [re.search(r"gradients of (\d+) weight", plan(4, *large, *more)).group(1)
                  for more in ([], ["train/micro_batches=5"])]
        self.assertEqual(counts[0], counts[1])
        self.assertNotEqual(counts[0], "6")  # else the batch would not have mattered
        for whole in (plan(1), plan(4, "comm/shards=off"), plan(4, "optimizer/kind=kfac", "optimizer/clip_norm=0"),
                      plan(4, "run/backend=cuda")):
            self.assertNotIn("shards", whole)
            self.assertIn("21.65 MiB  as f64", whole)

    def test_plan_without_data(self):
        deck = self.deck("plan.toml", self.deck_text(train="absent.h5", test="absent.h5"))
        code, stdout, _ = harness.run(0, "plan", deck, "--sample", "12,12,1", "--samples", "1000", "--ranks", "48")
        self.assertEqual(code, 0)
        for word in ("conv1", "parameters", "memory per rank", "checkpoint", "31 steps per epoch", "16 ranks have no sample"):
            self.assertIn(word, stdout)
        self.assert_refused(harness.run(0, "plan", deck), 3, "absent.h5", "--sample")


if __name__ == "__main__":
    unittest.main()
