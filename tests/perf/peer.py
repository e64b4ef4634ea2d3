# SPDX-License-Identifier: MIT
"""What the peers of tests/perf/bench share."""
import time


def repeat(call, seconds):
    """Seconds per call, of as many calls as fit into `seconds`, one at least."""
    calls, start = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        now = time.perf_counter()
        if now - start >= seconds:
            return (now - start) / calls
