# SPDX-License-Identifier: MIT
# The target isaribi::build_info: its one header, build_info.hpp, says what this build was made from. Everything known
# at configure time is filled in here; the commit is asked at each build, and the header is touched only when it changed.
include_guard()

string(TOUPPER "${CMAKE_BUILD_TYPE}" build_type)
string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${build_type}}" ISARIBI_INFO_FLAGS)
string(REGEX REPLACE "[ \t]+" " " ISARIBI_INFO_FLAGS "${ISARIBI_INFO_FLAGS}")

# "Open MPI v4.1.4": what the library says of itself, up to its first comma or line end.
string(REGEX MATCH "^[^,\r\n]*" ISARIBI_INFO_MPI "${MPI_C_LIBRARY_VERSION_STRING}")
string(REGEX REPLACE "[ \t]+" " " ISARIBI_INFO_MPI "${ISARIBI_INFO_MPI}")
if(NOT ISARIBI_INFO_MPI)
  set(ISARIBI_INFO_MPI "MPI ${MPI_C_VERSION}")
endif()

set(ISARIBI_INFO_KOKKOS "off")
if(ISARIBI_KOKKOS)
  string(REPLACE ";" "+" kokkos_devices "${Kokkos_DEVICES}")
  string(STRIP "${Kokkos_VERSION} ${kokkos_devices}" ISARIBI_INFO_KOKKOS)
endif()

set(ISARIBI_INFO_BLAS "off")
if(ISARIBI_SIMD)
  list(GET BLAS_LIBRARIES 0 ISARIBI_INFO_BLAS)
  if(EXISTS "${ISARIBI_INFO_BLAS}")
    file(REAL_PATH "${ISARIBI_INFO_BLAS}" ISARIBI_INFO_BLAS)
    get_filename_component(ISARIBI_INFO_BLAS "${ISARIBI_INFO_BLAS}" NAME)
  endif()
endif()

set(ISARIBI_INFO_CUDA "off")
if(ISARIBI_CUDA)
  set(ISARIBI_INFO_CUDA "${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
  string(REPLACE ";" " " ISARIBI_INFO_CUDA "${ISARIBI_INFO_CUDA}")
endif()

# First pass: all but the hash, which stays a placeholder for WriteGitHash.cmake.
set(ISARIBI_GIT_HASH "@ISARIBI_GIT_HASH@")
configure_file(${PROJECT_SOURCE_DIR}/cmake/build_info.hpp.in ${PROJECT_BINARY_DIR}/build_info.hpp.configured @ONLY)

find_package(Git QUIET)
add_custom_target(
  isaribi_git_hash
  COMMAND
    ${CMAKE_COMMAND} "-DGIT=${GIT_EXECUTABLE}" "-DSOURCE=${PROJECT_SOURCE_DIR}"
    "-DINPUT=${PROJECT_BINARY_DIR}/build_info.hpp.configured" "-DOUTPUT=${PROJECT_BINARY_DIR}/generated/build_info.hpp"
    -P ${PROJECT_SOURCE_DIR}/cmake/WriteGitHash.cmake
  BYPRODUCTS ${PROJECT_BINARY_DIR}/generated/build_info.hpp
  COMMENT "Recording the commit"
  VERBATIM)

add_library(isaribi_build_info INTERFACE)
add_library(isaribi::build_info ALIAS isaribi_build_info)
target_include_directories(isaribi_build_info INTERFACE ${PROJECT_BINARY_DIR}/generated)
add_dependencies(isaribi_build_info isaribi_git_hash)
