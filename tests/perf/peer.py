# SPDX-License-Identifier: MIT
"""What the peers of tests/perf/bench share."""
import os
import pathlib
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


def cpu_seconds(pid):
    """Of a process and its children."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return time.clock_gettime((~pid << 3) | 2) + sum(cpu_seconds(int(child)) for child in children)  # CPUCLOCK_SCHED
    except OSError:  # it has ended
        return 0.0


def wait_for_rest(cpu, most=1.0):
    """Until what `cpu` counts stands still: libraries let threads spin after a call, OpenBLAS for 0.1 s."""
    end, before, quiet = time.perf_counter() + most, cpu(), 0
    while time.perf_counter() < end and quiet < 2:  # once may mean that it waited for a core
        time.sleep(REST)
        now = cpu()
        quiet = quiet + 1 if now - before < 0.2 * REST else 0
        before = now
