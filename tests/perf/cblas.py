# SPDX-License-Identifier: MIT
"""Cases gemm and syrk of tests/perf/bench on a library with the C interface of BLAS."""
import ctypes

import numpy

import peer

ROW_MAJOR, NO, YES, LOWER = 101, 111, 112, 122


def noise(*shape):
    return numpy.random.default_rng(1).random(shape, dtype=numpy.float32) * 2 - 1


class Cblas:
    """What a Peer (see peer_torch.py) of such a library does; it adds `name` and `label`."""

    def __init__(self, library):
        self.blas = library
        self.call = None

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
