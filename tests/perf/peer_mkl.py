# SPDX-License-Identifier: MIT
"""The Intel MKL side of tests/perf/bench."""
import ctypes
import ctypes.util
import os
import pathlib
import sys

from cblas import Cblas


def load(threads):
    if threads == 1:
        os.environ.setdefault("MKL_THREADING_LAYER", "SEQUENTIAL")  # read when it is called first
    found = sorted(pathlib.Path(sys.prefix, "lib").glob("libmkl_rt.so*"))  # of a wheel
    path = str(found[-1]) if found else ctypes.util.find_library("mkl_rt")
    if path is None:
        raise ImportError("no libmkl_rt on this machine")
    return ctypes.CDLL(path)


class Peer(Cblas):
    def __init__(self, threads):
        super().__init__(load(threads))
        self.blas.MKL_Set_Num_Threads(threads)
        text = ctypes.create_string_buffer(198)
        self.blas.MKL_Get_Version_String(text, len(text))
        self.name = " ".join(text.value.decode().split())

    def label(self, _):
        return "MKL"
