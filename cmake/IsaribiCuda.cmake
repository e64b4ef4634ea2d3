# SPDX-License-Identifier: MIT
# The CUDA toolkit and language.
include_guard()

find_package(CUDAToolkit 12 REQUIRED)
# Real code for the GPUs that are common in machines, and PTX of the newest for what comes after them. Set before the
# language is enabled: the default of older CMakes is an architecture that newer toolkits no longer know.
if(NOT CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
  if(CUDAToolkit_VERSION VERSION_LESS 13)
    set(CMAKE_CUDA_ARCHITECTURES 70-real 80-real 90)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES} CACHE STRING "GPU architectures" FORCE)
endif()
set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE} CACHE FILEPATH "CUDA compiler")
enable_language(CUDA)
