# SPDX-License-Identifier: MIT
"""What the peers of tests/perf/bench share."""
import os
import pathlib
import threading
import time

REST = 0.002  # seconds of one look
LEVELS = {"avx2": {"OPENBLAS_CORETYPE": "Haswell", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
                   "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}


def hold_to(isa):
    """Holds libraries that are loaded later to the instruction set that ours is forced to."""
    for name, value in LEVELS.get(isa, {}).items():
        os.environ.setdefault(name, value)


def repeat(call, seconds):
    """Seconds per call, of as many calls as fit into `seconds`, one at least."""
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        now = time.perf_counter()
        if now - start >= seconds:
            return (now - start) / calls


def runs(pid):
    """Whether a thread of a process or of its children, but for the one that asks, runs or waits for a core."""
    def state(task):
        try:
            return (task / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
        except OSError:  # a thread has ended
            return ""
    try:
        tasks = pathlib.Path(f"/proc/{pid}/task")
        if any(state(task) == "R" for task in tasks.iterdir() if int(task.name) != threading.get_native_id()):
            return True
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return any(runs(int(child)) for child in children)
    except OSError:  # it has ended
        return False


def wait_for_rest(pid, most=1.0):
    """Until its threads sleep: libraries let them spin after a call, OpenBLAS for 0.1 s."""
    end, quiet = time.perf_counter() + most, 0
    while time.perf_counter() < end and quiet < 2:  # once may be between two calls
        time.sleep(REST)
        quiet = 0 if runs(pid) else quiet + 1
