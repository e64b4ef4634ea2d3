# SPDX-License-Identifier: MIT
import pathlib

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *

# The recipe lives in the repository of the program and builds the checkout that it came with.
CHECKOUT = pathlib.Path(__file__).resolve().parents[5].as_uri()


class Isaribi(CMakePackage, CudaPackage):
    """Training and inference of convolutional neural networks over MPI on supercomputers:
    TOML decks, HDF5 data and checkpoints, restart after any kill."""

    homepage = CHECKOUT
    git = CHECKOUT

    license("MIT")

    version("main", branch="main")

    # One variant per CMake option; CudaPackage brings cuda and cuda_arch.
    variant("kokkos", default=True, description="Portable kernels on Kokkos")
    variant("simd", default=True, description="CPU kernels per instruction set, with BLAS/LAPACK")
    variant("tests", default=False, description="Unit, MPI, restart and command-line tests")
    variant("werror", default=False, description="Warnings are errors")
    variant(
        "sanitize",
        default="none",
        values=("none", "address_undefined", "thread"),
        multi=False,
        description="Sanitizers for isaribi's own code",
    )

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("git", type="build")

    depends_on("mpi@3:")
    depends_on("hdf5@1.10.8: +mpi")
    depends_on("fmt@9:")
    depends_on("tomlplusplus@3.3:")
    depends_on("cli11@2.1:")
    depends_on("nlohmann-json@3.11:")
    depends_on("openssl@3:")
    depends_on("libpng@1.6:")
    depends_on("zlib-api")
    depends_on("hwloc@2:")
    depends_on("xxhash@0.8:")
    depends_on("cairo +png")

    # Kokkos for the host only: what needs a GPU driver to load is a module of its own, so that the
    # program starts on login nodes.
    depends_on("kokkos@4.5: ~cuda +openmp +serial +pic", when="+kokkos")
    depends_on("kokkos cxxstd=20", when="+kokkos ^kokkos@4")

    depends_on("blas", when="+simd")
    depends_on("lapack", when="+simd")
    # Else two thread pools fight over the cores of a rank.
    depends_on("openblas threads=openmp", when="+simd ^[virtuals=blas] openblas")

    depends_on("cuda@12:", when="+cuda")
    depends_on("nccl@2.18:", when="+cuda")
    conflicts("cuda_arch=none", when="+cuda", msg="name the GPU: +cuda cuda_arch=90 (H100, H200)")

    depends_on("catch2@2.13:", when="+tests", type=("build", "link"))
    depends_on("python@3.8:", when="+tests", type="build")
    depends_on("py-numpy", when="+tests", type="build")
    depends_on("py-h5py", when="+tests", type="build")

    conflicts("%gcc@:11", msg="C++20 as GCC 12 has it")
    conflicts("%clang@:14", msg="C++20 as Clang 15 has it")

    sanity_check_is_file = [
        join_path("bin", "isaribi"),
        join_path("share", "isaribi", "jobscripts", "lib.sh"),
    ]

    def cmake_args(self):
        sanitizers = {"none": "", "address_undefined": "address;undefined", "thread": "thread"}
        args = [
            self.define_from_variant("ISARIBI_KOKKOS", "kokkos"),
            self.define_from_variant("ISARIBI_SIMD", "simd"),
            self.define_from_variant("ISARIBI_CUDA", "cuda"),
            self.define_from_variant("ISARIBI_TESTS", "tests"),
            self.define_from_variant("ISARIBI_WERROR", "werror"),
            self.define("ISARIBI_SANITIZE", sanitizers[self.spec.variants["sanitize"].value]),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(
                self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value)
            )
        return args

    def test_version(self):
        """the program starts without a launcher and names its version"""
        text = Executable(self.prefix.bin.isaribi)("--version", output=str.split, error=str.split)
        assert "isaribi" in text

    def test_selftest(self):
        """every operation agrees with the oracle on this machine"""
        Executable(self.prefix.bin.isaribi)("selftest", "--backend=reference")
