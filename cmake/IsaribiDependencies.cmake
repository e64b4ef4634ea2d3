# SPDX-License-Identifier: MIT
# Every package the program is built from, in one place. Spack/.../package.py names the same ones.
include_guard()

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
set(MPI_DETERMINE_LIBRARY_VERSION ON)
find_package(MPI REQUIRED COMPONENTS C)  # the C interface is all we use
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)  # mpi.h without the old C++ one
find_package(fmt REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CAIRO REQUIRED IMPORTED_TARGET cairo)

# Parallel HDF5 only; a serial one that happens to come first in the path is refused here, not at run time.
set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 at ${HDF5_INCLUDE_DIRS} is not parallel. Install libhdf5-openmpi-dev (Debian, Ubuntu) or "
                      "`spack install hdf5+mpi`, or set HDF5_ROOT to a parallel build.")
endif()
add_library(isaribi_hdf5_dependency INTERFACE)
target_include_directories(isaribi_hdf5_dependency SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_compile_definitions(isaribi_hdf5_dependency INTERFACE ${HDF5_DEFINITIONS})
target_link_libraries(isaribi_hdf5_dependency INTERFACE ${HDF5_LIBRARIES})

if(ISARIBI_KOKKOS)
  find_package(Kokkos 4.5 QUIET)
  if(NOT Kokkos_FOUND AND ISARIBI_KOKKOS_SOURCE)
    set(Kokkos_ENABLE_OPENMP ON CACHE BOOL "" FORCE)
    set(Kokkos_ENABLE_SERIAL ON CACHE BOOL "" FORCE)
    add_subdirectory(${ISARIBI_KOKKOS_SOURCE} kokkos EXCLUDE_FROM_ALL SYSTEM)
    set(Kokkos_VERSION "from ${ISARIBI_KOKKOS_SOURCE}")
  elseif(NOT Kokkos_FOUND)
    message(FATAL_ERROR "Kokkos >= 4.5 was not found. Run ./quickstart (it builds one), point Kokkos_ROOT to an install, "
                        "set ISARIBI_KOKKOS_SOURCE to its source, or build without: -DISARIBI_KOKKOS=OFF.")
  endif()
endif()

if(ISARIBI_SIMD)
  find_package(BLAS REQUIRED)
  find_package(LAPACK REQUIRED)
endif()
