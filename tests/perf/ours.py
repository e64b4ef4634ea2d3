# SPDX-License-Identifier: MIT
"""Our side of tests/perf/bench: isaribi_perf in this process's cores, or as two MPI ranks."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time


class Ours:
    """A running isaribi_perf: one request, one line of JSON."""

    def __init__(self, binary, backend, environment):
        self.process = subprocess.Popen([binary, backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.pipes = [self.process.stdin]
        self.peaks = []

    def ask(self, line):
        for pipe in self.pipes:
            pipe.write(line + "\n")
            pipe.flush()
        reply = self.process.stdout.readline()
        if not reply:
            sys.exit(f"bench: isaribi_perf ended at '{line}' (exit {self.process.wait()})")
        return json.loads(reply)

    def case(self, name, a):
        self.peaks.clear()
        return self.ask("case " + name + " " + " ".join(f"{k}={v}" for k, v in a.items()))

    def run(self, seconds):
        """Seconds per call; `peaks` notes the FMA peak (GFLOP/s) around each run since the case was prepared."""
        reply = self.ask(f"run {seconds}")
        self.peaks.append(reply["gflops"])
        return reply["seconds"]

    def pid(self):
        return self.process.pid

    def close(self):
        for pipe in self.pipes:
            pipe.close()
        self.process.wait()


class OursRanks(Ours):
    """The same as `ranks` MPI ranks. Each reads a pipe of its own, so that idle ranks sleep."""

    def __init__(self, binary, backend, environment, ranks):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isaribi-perf-"))
        for rank in range(ranks):
            os.mkfifo(self.folder / str(rank))
        environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                       "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
                       "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
                       "PRTE_MCA_hwloc_default_binding_policy": "none", **environment}
        command = [os.environ.get("ISARIBI_MPIEXEC", "mpirun"), "-np", str(ranks), binary, backend, str(self.folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.pipes = [self.open_pipe(self.folder / str(rank)) for rank in range(ranks)]
        self.peaks = []

    def open_pipe(self, path):
        """Waits for its reader, but not for a job that has ended."""
        while self.process.poll() is None:
            try:
                return os.fdopen(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "w")
            except OSError:
                time.sleep(0.02)
        sys.exit(f"bench: the MPI job ended before it began (exit {self.process.returncode})")

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)
