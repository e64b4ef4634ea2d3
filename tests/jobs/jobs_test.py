# SPDX-License-Identifier: MIT
"""The job scripts under imitations of the schedulers' commands (fakes/)."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
JOBSCRIPTS = ROOT / "jobscripts"
SCRIPTS = sorted(JOBSCRIPTS.glob("*/train.sh"))
SHELL_FILES = [*SCRIPTS, JOBSCRIPTS / "lib.sh", ROOT / "quickstart", ROOT / ".ci/run", *(HERE / "fakes").iterdir()]


class Syntax(unittest.TestCase):
    def test_bash_parses_every_script(self):
        self.assertGreaterEqual(len(SCRIPTS), 4)
        for path in SHELL_FILES:
            self.assertEqual(subprocess.run(["bash", "-n", path]).returncode, 0, path)

    @unittest.skipUnless(shutil.which("shellcheck"), "no shellcheck")
    def test_shellcheck_is_content(self):
        result = subprocess.run(["shellcheck", "-x", *SHELL_FILES], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(result.stdout, "")

    def test_scripts_hold_no_paths_of_a_person(self):
        for path in SHELL_FILES:
            self.assertNotRegex(path.read_text(), r"/home/|/Users/", path)


class Jobs(unittest.TestCase):
    """Every scheduler plays the same scenarios."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isaribi-jobs-"))
        self.addCleanup(shutil.rmtree, self.folder)
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        for name in ("mpirun", "srun"):
            (bin_folder / name).symlink_to(HERE / "fakes/launcher")
        for name in ("qsub", "qstat", "scontrol", "module"):
            (bin_folder / name).symlink_to(HERE / "fakes/scheduler")
        self.log = self.folder / "calls"
        self.run_folder = self.folder / "run"
        (self.folder / "nodes").write_text("node1\n" * 8)
        self.environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(self.folder), "ISARIBI": "isaribi",
            "ISARIBI_JOBSCRIPTS": str(JOBSCRIPTS), "FAKE_LOG": str(self.log), "FAKE_PLAN": str(self.folder / "plan"),
            "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8",
            "PBS_O_WORKDIR": str(self.folder), "PBS_JOBID": "1.fake", "PBS_NODEFILE": str(self.folder / "nodes"),
            "DECK": "deck.toml", "RUN": str(self.run_folder), "OVERRIDES": "data/batch=64 train/epochs=2", "GROUP": "g1",
        }

    def command(self, script):
        positional = ["deck.toml", str(self.run_folder), "data/batch=64", "train/epochs=2"]
        arguments = {"slurm": positional, "local": ["2", *positional]}.get(script.parent.name, [])
        return ["bash", script, *arguments]

    def plan(self, *lines):
        shutil.rmtree(self.run_folder, ignore_errors=True)
        for path in self.folder.glob("calls*"):
            path.unlink()
        (self.folder / "plan").write_text("".join(line + "\n" for line in lines))

    def play(self, script, signal_to_send=None):
        """One job. @return (exit code, recorded calls)."""
        process = subprocess.Popen(self.command(script), env=self.environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        if signal_to_send is not None:
            waiting = pathlib.Path(str(self.log) + ".waiting")
            deadline = time.monotonic() + 20
            while not waiting.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal_to_send)
        self.output, _ = process.communicate(timeout=60)
        return process.returncode, self.log.read_text()

    def resubmissions(self, script, calls):
        """How often the job was given back to its scheduler, or for local: started again."""
        lines = calls.splitlines()
        if script.parent.name == "local":
            return len([line for line in lines if line.startswith("mpirun|")]) - 1
        word = "scontrol|requeue|7|" if script.parent.name == "slurm" else "qsub|"
        return len([line for line in lines if line.startswith(word)])

    def each(self, *plan):
        for script in SCRIPTS:
            with self.subTest(scheduler=script.parent.name):
                self.plan(*plan)
                yield script

    def test_finished(self):
        for script in self.each("0 100"):
            code, calls = self.play(script)
            self.assertEqual(code, 0, self.output)
            self.assertEqual(self.resubmissions(script, calls), 0)
            launched = calls[calls.index("isaribi|train|"):].splitlines()[0]
            for part in ("train|deck.toml", f"run/dir={self.run_folder}", "checkpoint/restart=auto", "data/batch=64",
                         "train/epochs=2"):
                self.assertIn(part, launched)
            self.assertRegex(launched, r"OMP_NUM_THREADS=\d+")
            if script.parent.name in ("pbs", "abci3"):
                self.assertIn("--walltime|01:30:00|", launched)

    def test_time_limit_submits_again(self):
        for script in self.each("wait 50", "0 100"):
            code, calls = self.play(script, signal.SIGUSR1)
            self.assertEqual(code, 0, self.output)
            self.assertIn("USR1\n", calls)
            self.assertNotIn("TERM\n", calls)
            self.assertEqual(self.resubmissions(script, calls), 1, calls)
            if script.parent.name in ("pbs", "abci3"):
                again = next(line for line in calls.splitlines() if line.startswith("qsub|"))
                for part in ("DECK=deck.toml", f"RUN={self.run_folder}", "OVERRIDES=data/batch=64 train/epochs=2",
                             f"{script.parent.name}/train.sh"):
                    self.assertIn(part, again)

    def test_a_crash_with_progress_submits_again(self):
        for script in self.each("137 60", "0 100"):
            code, calls = self.play(script)
            self.assertEqual((code, self.resubmissions(script, calls)), (0, 1), self.output)

    def test_no_progress_stops(self):
        for script in self.each("75 50", "75 50", "0 100"):
            code, calls = self.play(script)
            if script.parent.name != "local":  # the scheduler starts the second job
                self.assertEqual((code, self.resubmissions(script, calls)), (0, 1), self.output)
                code, calls = self.play(script)
            self.assertEqual((code, self.resubmissions(script, calls)), (75, 1), self.output)

    def test_the_number_of_jobs_is_limited(self):
        self.environment["ISARIBI_MAX_JOBS"] = "1"
        for script in self.each("75 50"):
            code, calls = self.play(script)
            self.assertEqual((code, self.resubmissions(script, calls)), (75, 0), self.output)

    def test_errors_that_would_repeat_stop(self):
        for expected in (2, 3, 4):
            for script in self.each(f"{expected} 10"):
                code, calls = self.play(script)
                self.assertEqual((code, self.resubmissions(script, calls)), (expected, 0), self.output)

    def test_a_crash_before_the_first_step_stops(self):
        for script in self.each("1 0"):
            code, calls = self.play(script)
            self.assertEqual((code, self.resubmissions(script, calls)), (1, 0), self.output)

    def test_a_cancelled_job_writes_a_checkpoint_and_stays_away(self):
        for script in self.each("wait 50", "0 100"):
            code, calls = self.play(script, signal.SIGTERM)
            self.assertIn("USR1\n", calls)
            self.assertNotIn("TERM\n", calls)
            self.assertEqual((code, self.resubmissions(script, calls)), (75, 0), self.output)


if __name__ == "__main__":
    unittest.main()
