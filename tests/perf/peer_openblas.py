# SPDX-License-Identifier: MIT
"""The OpenBLAS side of tests/perf/bench, on the kernels of the widest instruction set of this CPU (left to itself it
takes AVX2 kernels on some CPUs that have AVX-512)."""
import ctypes
import ctypes.util
import os
import pathlib

from cblas import Cblas

WIDEST = "SkylakeX" if "avx512f" in pathlib.Path("/proc/cpuinfo").read_text() else "Haswell"


def load():
    os.environ.setdefault("OPENBLAS_CORETYPE", WIDEST)  # read when the library is loaded
    found = ctypes.util.find_library("openblas")
    if found is None:
        raise ImportError("no libopenblas on this machine")
    return ctypes.CDLL(found)


class Peer(Cblas):
    def __init__(self, threads):
        super().__init__(load())
        self.blas.openblas_set_num_threads(threads)
        self.blas.openblas_get_config.restype = ctypes.c_char_p
        self.name = self.blas.openblas_get_config().decode()

    def label(self, _):
        return "OpenBLAS"
