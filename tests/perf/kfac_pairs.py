# SPDX-License-Identifier: MIT
"""Runs of `isaribi train` that take turns, for tests/perf/kfac cost. Both stay alive: one is stopped (SIGSTOP) while the other
makes some steps, so that start-up is never part of a timing, and turns of less than a second meet the same speed of the core,
which on virtual machines moves by a factor of up to 2 within seconds. Steps are counted from the lines of metrics.jsonl."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

POLL = 0.02  # seconds between looks at the file: every 2 ms they made a LeNet-5 step 1 to 3 % longer


class Run:
    """A training run that only makes steps within advance()."""

    def __init__(self, command, folder, threads):
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.command, self.file = command, pathlib.Path(folder) / "metrics.jsonl"
        self.lines, self.rest, self.step, self.ended = None, "", 0, False
        self.advance(1)  # start-up

    def read(self):
        """The step of the last line."""
        if self.lines is None:
            if not self.file.exists():
                return self.step
            self.lines = self.file.open(encoding="utf-8")
        text = self.rest + self.lines.read()
        *whole, self.rest = text.split("\n")
        for line in reversed(whole):
            row = json.loads(line)
            if row["kind"] == "train":
                self.step = row["step"]
                break
        return self.step

    def cpu(self):
        return time.clock_gettime((~self.process.pid) << 3 | 2)  # the CPU-time clock of a process, as clock_getcpuclockid

    def advance(self, steps):
        """Goes on for `steps` steps or a few more. Returns (wall seconds, CPU seconds, steps)."""
        first, cpu, start = self.step, self.cpu(), time.perf_counter()
        os.kill(self.process.pid, signal.SIGCONT)
        while self.read() < first + steps and not self.ended:
            time.sleep(POLL)
            self.ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        if not self.ended:
            os.kill(self.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        wall, used = time.perf_counter() - start, self.cpu() - cpu
        if self.ended and self.process.wait() != 0:
            sys.exit(f"kfac: {' '.join(self.command)} ended with exit {self.process.returncode}:\n{self.process.stderr.read()}")
        return wall, used, self.read() - first

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        if self.lines:
            self.lines.close()
