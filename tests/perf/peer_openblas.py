# SPDX-License-Identifier: MIT
"""The OpenBLAS side of tests/perf/bench: cases gemm and syrk through its C interface, on the kernels of the widest
instruction set of this CPU (left to itself it takes AVX2 kernels on some CPUs that have AVX-512)."""
import ctypes
import ctypes.util
import os
import pathlib

import numpy

import peer

ROW_MAJOR, NO, YES, LOWER = 101, 111, 112, 122
WIDEST = "SkylakeX" if "avx512f" in pathlib.Path("/proc/cpuinfo").read_text() else "Haswell"


def load():
    os.environ.setdefault("OPENBLAS_CORETYPE", WIDEST)  # read when the library is loaded
    found = ctypes.util.find_library("openblas")
    if found is None:
        raise ImportError("no libopenblas on this machine")
    return ctypes.CDLL(found)


def noise(*shape):
    return numpy.random.default_rng(1).random(shape, dtype=numpy.float32) * 2 - 1


class Peer:
    """As the Peer of peer_torch.py."""

    def __init__(self, threads):
        self.blas = load()
        self.blas.openblas_set_num_threads(threads)
        self.blas.openblas_get_config.restype = ctypes.c_char_p
        self.name = self.blas.openblas_get_config().decode()
        self.call = None

    def label(self, _):
        return "OpenBLAS"

    def case(self, name, a):
        if name not in ("gemm", "syrk"):
            return False
        m, k, one, zero = a["m"], a["k"], ctypes.c_float(1), ctypes.c_float(0)
        ta, tb = a.get("ta", 0), a.get("tb", 0)
        left = noise(k, m) if ta else noise(m, k)
        pointer = ctypes.c_void_p
        if name == "syrk":
            out = numpy.zeros((m, m), numpy.float32)
            arguments = (ROW_MAJOR, LOWER, YES if ta else NO, m, k, one, pointer(left.ctypes.data), left.shape[1], zero,
                         pointer(out.ctypes.data), m)
            self.call = lambda: (self.blas.cblas_ssyrk(*arguments), left, out)
        else:
            n = a["n"]
            right = noise(n, k) if tb else noise(k, n)
            out = numpy.zeros((m, n), numpy.float32)
            arguments = (ROW_MAJOR, YES if ta else NO, YES if tb else NO, m, n, k, one, pointer(left.ctypes.data),
                         left.shape[1], pointer(right.ctypes.data), right.shape[1], zero, pointer(out.ctypes.data), n)
            self.call = lambda: (self.blas.cblas_sgemm(*arguments), left, right, out)
        self.run(0)
        return True

    def run(self, seconds):
        return peer.repeat(self.call, seconds)
