#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stopping well and starting again: USR1, --walltime, STOP file, a broken newest checkpoint, other rank counts."""
import os
import pathlib
import signal
import tempfile
import time
import unittest

import harness


class Stop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory(prefix="isaribi-stop-")
        cls.folder = pathlib.Path(cls.holder.name)
        harness.make_data(cls.folder)
        deck = harness.write_deck(cls.folder, "calm", cls.folder / "calm", cls.folder)
        code, output = harness.run(2, "train", deck)
        assert code == 0, output
        cls.want = harness.digest(harness.newest_checkpoint(cls.folder / "calm"))
        cls.want_loss = harness.status(cls.folder / "calm")["test_loss"]

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def deck(self, name, epochs=3):
        return harness.write_deck(self.folder, name, self.folder / name, self.folder, epochs=epochs)

    def finish(self, name, deck, ranks=2):
        code, output = harness.run(ranks, "train", deck, "--resume")
        self.assertEqual(code, 0, output)
        self.assertEqual(harness.status(self.folder / name)["state"], "finished")
        return harness.newest_checkpoint(self.folder / name)

    def wait_for_lines(self, name, job, count=2):
        """Until the run has written some metrics: it is in the middle of training."""
        path = self.folder / name / "metrics.jsonl"
        deadline = time.time() + 60
        while time.time() < deadline and job.poll() is None:
            if path.exists() and len(path.read_text().splitlines()) >= count:
                return
            time.sleep(0.01)
        self.fail(f"no metrics appeared; exit code {job.poll()}")

    def test_usr1_stops_with_75_and_the_rest_equals_the_calm_run(self):
        deck = self.deck("usr1")
        job = harness.launch(2, "train", deck)
        self.wait_for_lines("usr1", job)
        os.kill(job.pid, signal.SIGUSR1)
        self.assertEqual(job.wait(timeout=60), 75)
        stopped = harness.status(self.folder / "usr1")
        self.assertEqual((stopped["state"], stopped["exit"]), ("stopped", 75))
        self.assertLess(stopped["step"], 60)
        self.assertEqual(harness.digest(self.finish("usr1", deck)), self.want)
        self.assertEqual(harness.status(self.folder / "usr1")["attempts"], 2)

    def test_stop_file(self):
        deck = self.deck("stopfile", epochs=2000)
        job = harness.launch(2, "train", deck)
        self.wait_for_lines("stopfile", job)
        (self.folder / "stopfile" / "STOP").touch()
        self.assertEqual(job.wait(timeout=60), 75)

    def test_two_jobs_do_not_share_a_run_folder(self):
        deck = self.deck("shared", epochs=2000)
        job = harness.launch(2, "train", deck)
        self.wait_for_lines("shared", job)
        for ranks in (1, 2):
            code, output = harness.run(ranks, "train", deck)
            self.assertEqual(code, 3, output)
            self.assertEqual(output.count("another job trains in this run folder: process"), 1, output)
        os.kill(job.pid, signal.SIGUSR1)
        self.assertEqual(job.wait(timeout=60), 75)
        self.assertEqual(harness.status(self.folder / "shared")["attempts"], 1)
        code, output = harness.run(1, "train", deck, "train/epochs=1")  # free again
        self.assertEqual(code, 0, output)

    def test_walltime(self):
        deck = self.deck("walltime", epochs=2000)
        start = time.time()
        code, output = harness.run(2, "train", deck, "--walltime", "00:00:05", timeout=60)
        self.assertEqual(code, 75, output)
        self.assertLess(time.time() - start, 8)
        self.assertIn("walltime", output)

    def test_broken_newest_checkpoint_is_named_and_passed_over(self):
        for number, damage in enumerate(("truncate", "flip", "empty")):
            name = f"broken{number}"
            deck = self.deck(name)
            code, output = harness.run(2, "train", deck, "train/steps=30")
            self.assertEqual(code, 0, output)
            newest = harness.newest_checkpoint(self.folder / name)
            data = bytearray(newest.read_bytes())
            if damage == "truncate":
                data = data[: len(data) // 2]
            elif damage == "flip":
                weight = data.find(b"CONT")  # no such mark: flip a byte in the raw data at the end of the file
                data[weight if weight >= 0 else len(data) - 100] ^= 1
            else:
                data = bytearray()
            newest.write_bytes(bytes(data))
            code, output = harness.run(2, "train", deck)
            self.assertEqual(code, 0, output)
            self.assertIn(newest.name, output, damage)
            self.assertEqual(harness.digest(harness.newest_checkpoint(self.folder / name)), self.want, damage)

    def test_pointer_left_behind_at_the_end_is_moved(self):
        """Killed between the name of the last checkpoint and the pointer to it: nothing is left to train, and nothing to save."""
        deck = self.deck("pointer")
        code, output = harness.run(2, "train", deck, "train/steps=20")
        self.assertEqual(code, 0, output)
        newest = harness.newest_checkpoint(self.folder / "pointer")
        (newest.parent / "latest").write_text(sorted(p.name for p in newest.parent.glob("step-*.h5"))[-2] + "\n")
        self.assertNotEqual(harness.newest_checkpoint(self.folder / "pointer"), newest)
        code, output = harness.run(2, "train", deck, "train/steps=20")
        self.assertEqual(code, 0, output)
        self.assertEqual(harness.newest_checkpoint(self.folder / "pointer"), newest)

    def test_other_rank_counts_go_on_within_the_bound(self):
        for ranks in (1, 4):
            name = f"ranks{ranks}"
            deck = self.deck(name)
            code, output = harness.run(2, "train", deck, "train/steps=20")
            self.assertEqual(code, 0, output)
            self.finish(name, deck, ranks)
            loss = harness.status(self.folder / name)["test_loss"]
            self.assertLess(abs(loss - self.want_loss) / self.want_loss, 1e-5)

    def test_shards_go_on_on_other_rank_counts(self):
        want = None
        # 3 ranks have other rows than 2, and 1 rank all of them; the last run has no shards.
        for name, jobs in (("calm", [(2, "auto")]), ("cut", [(2, "auto"), (3, "private"), (1, "auto"), (2, "auto")]),
                           ("off", [(3, "auto"), (2, "off")])):
            for optimizer in ("sgd", "adamw"):
                run = f"wide_{name}_{optimizer}"
                deck = harness.write_deck(self.folder, run, self.folder / run, self.folder, model="wide")
                for i, (ranks, shards) in enumerate(jobs):
                    steps = [] if i == len(jobs) - 1 else [f"train/steps={13 * (i + 1)}"]
                    code, output = harness.run(ranks, "train", deck, f"optimizer/kind={optimizer}", "optimizer/lr=0.01",
                                               f"comm/shards={shards}", *steps)
                    self.assertEqual(code, 0, output)
                    for copies, value in (("node", "auto"), ("rank", "private")):
                        line = f"linear1/weight, linear2/weight: each rank sums and updates its rows, each {copies} has a copy"
                        self.assertEqual(line in output, ranks > 1 and shards == value, output)
                if name == "calm":
                    want = want or {}
                    want[optimizer] = harness.status(self.folder / run)["test_loss"]
                loss = harness.status(self.folder / run)["test_loss"]
                self.assertLess(abs(loss - want[optimizer]) / want[optimizer], 1e-5, run)

    def test_error_feedback_goes_on_with_its_residuals(self):
        feedback = ["comm/allreduce=direct2", "comm/wire=bf16", "comm/error_feedback=true", "train/gradient_type=f32"]
        code, output = harness.run(2, "train", self.deck("owed"), *feedback)
        self.assertEqual(code, 0, output)
        want = harness.digest(harness.newest_checkpoint(self.folder / "owed"))
        deck = self.deck("owed_cut")
        code, output = harness.run(2, "train", deck, *feedback, "train/steps=23")
        self.assertEqual(code, 0, output)
        code, output = harness.run(2, "train", deck, *feedback)
        self.assertEqual(code, 0, output)
        self.assertNotIn("error feedback", output)
        self.assertEqual(harness.digest(harness.newest_checkpoint(self.folder / "owed_cut")), want)
        deck = self.deck("owed_more")
        code, output = harness.run(2, "train", deck, *feedback, "train/steps=23")
        self.assertEqual(code, 0, output)
        code, output = harness.run(3, "train", deck, *feedback, "comm/allreduce=direct3")
        self.assertEqual(code, 0, output)
        self.assertIn("error feedback begins anew", output)
        self.assertIn("another number of ranks", output)

    def test_same_job_twice_and_digest_of_any_rank_count_layout(self):
        deck = self.deck("again")
        code, output = harness.run(2, "train", deck)
        self.assertEqual(code, 0, output)
        self.assertEqual(harness.digest(harness.newest_checkpoint(self.folder / "again")), self.want)

    @unittest.skipUnless("avx512f" in pathlib.Path("/proc/cpuinfo").read_text(), "this CPU has one instruction set")
    def test_a_restart_keeps_the_instruction_set(self):
        # What the machine prefers differs from run to run when it is busy; the bits must not.
        deck = self.deck("whole_avx2")
        code, output = harness.run(2, "train", deck, "run/isa=avx2")
        self.assertEqual(code, 0, output)
        want = harness.digest(harness.newest_checkpoint(self.folder / "whole_avx2"))
        deck = self.deck("kept_avx2")
        code, output = harness.run(2, "train", deck, "run/isa=avx2", "train/steps=30")
        self.assertEqual(code, 0, output)
        self.assertEqual(harness.digest(self.finish("kept_avx2", deck)), want)
        deck = self.deck("changed")
        code, output = harness.run(2, "train", deck, "run/isa=avx2", "train/steps=30")
        self.assertEqual(code, 0, output)
        code, output = harness.run(2, "train", deck, "run/isa=avx512")
        self.assertEqual(code, 0, output)
        self.assertIn("not bit for bit", output)

    @unittest.skipUnless("avx512f" in pathlib.Path("/proc/cpuinfo").read_text(), "this CPU has one instruction set")
    def test_ranks_without_a_common_instruction_set_are_told(self):
        deck = self.deck("mixed")
        code, output = harness.run_mixed({"ISARIBI_ISA": "avx2"}, {"ISARIBI_ISA": "avx512"}, "train", deck)
        self.assertEqual(code, 2, output)
        self.assertEqual(output.count("no instruction set in common"), 1, output)

    def test_resume_without_a_checkpoint_says_so(self):
        code, output = harness.run(2, "train", self.deck("nothing"), "--resume")
        self.assertEqual(code, 3, output)
        self.assertIn("no checkpoint", output)


if __name__ == "__main__":
    unittest.main(verbosity=2)
