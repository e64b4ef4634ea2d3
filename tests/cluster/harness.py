# SPDX-License-Identifier: MIT
"""What the tests of emulated clusters share: starting `cluster`, and skipping where the machine does not allow it."""
import os
import pathlib
import subprocess
import sys
import unittest

CLUSTER = pathlib.Path(__file__).resolve().parent / "cluster"


def cluster(*arguments, before=()):
    return subprocess.run([*before, sys.executable, "-B", CLUSTER, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, env=dict(os.environ, OMP_NUM_THREADS="1"))


def main():
    trial = cluster("clean")
    if trial.returncode == 77:
        print(trial.stderr.strip())
        sys.exit(77)
    unittest.main()
