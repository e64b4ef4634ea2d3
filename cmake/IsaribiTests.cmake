# SPDX-License-Identifier: MIT
# Catch2 3, or the 2.13 of Debian 12 through tests/catch.hpp, and one way to add a test.
include_guard()

find_package(Catch2 REQUIRED)
add_library(isaribi_catch INTERFACE)
target_include_directories(isaribi_catch INTERFACE ${PROJECT_SOURCE_DIR}/tests)
if(Catch2_VERSION VERSION_LESS 3)
  add_library(isaribi_catch_main STATIC ${PROJECT_SOURCE_DIR}/tests/catch_main.cpp)
  target_link_libraries(isaribi_catch_main PUBLIC Catch2::Catch2 isaribi_catch)
  target_compile_definitions(isaribi_catch_main PUBLIC ISARIBI_CATCH2_V2)
  target_link_libraries(isaribi_catch INTERFACE isaribi_catch_main)
else()
  target_link_libraries(isaribi_catch INTERFACE Catch2::Catch2WithMain)
endif()

# isaribi_unit_test(NAME SOURCES f.cpp... LIBRARIES isaribi::x...): one executable, one ctest entry "unit/NAME".
function(isaribi_unit_test name)
  cmake_parse_arguments(T "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(test_${name} ${T_SOURCES})
  target_link_libraries(test_${name} PRIVATE isaribi_catch isaribi_options ${T_LIBRARIES})
  add_test(NAME unit/${name} COMMAND test_${name})
  # Leaks are looked for where no MPI runs: MPI libraries keep what they allocated (the preset turns the search off).
  set_tests_properties(unit/${name} PROPERTIES TIMEOUT 300 ENVIRONMENT
                                               "ASAN_OPTIONS=detect_leaks=1;LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/leaks.supp")
endfunction()

# What a test needs in its environment to start more ranks than cores, also as root (containers). Settings of Open MPI
# 4 and 5; MPICH needs none.
set(ISARIBI_MPI_TEST_ENVIRONMENT
    OMPI_ALLOW_RUN_AS_ROOT=1
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_rmaps_base_oversubscribe=1
    OMPI_MCA_hwloc_base_binding_policy=none
    OMPI_MCA_mpi_yield_when_idle=1
    PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    PRTE_MCA_hwloc_default_binding_policy=none
    OMP_NUM_THREADS=1)

# isaribi_mpi_test(NAME RANKS 1 2... SOURCES f.cpp... LIBRARIES isaribi::x... [VARIANT name] [ARGUMENTS a...]): one
# executable (made by the first call of that NAME) and one ctest entry "mpi/NAME[_VARIANT]/npR" per number of ranks.
function(isaribi_mpi_test name)
  cmake_parse_arguments(T "" "VARIANT" "RANKS;SOURCES;LIBRARIES;ARGUMENTS" ${ARGN})
  if(NOT TARGET mpi_test_${name})
    add_executable(mpi_test_${name} ${T_SOURCES})
    target_link_libraries(mpi_test_${name} PRIVATE isaribi_options ${T_LIBRARIES})
  endif()
  set(label ${name})
  if(T_VARIANT)
    string(APPEND label _${T_VARIANT})
  endif()
  foreach(ranks ${T_RANKS})
    set(test mpi/${label}/np${ranks})
    add_test(NAME ${test} COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${MPIEXEC_PREFLAGS}
                                  $<TARGET_FILE:mpi_test_${name}> ${MPIEXEC_POSTFLAGS} ${T_ARGUMENTS})
    set_tests_properties(${test} PROPERTIES ENVIRONMENT "${ISARIBI_MPI_TEST_ENVIRONMENT}" PROCESSORS ${ranks}
                                            TIMEOUT 300)
  endforeach()
endfunction()

# isaribi_python_test(NAME SCRIPT NEEDS module...): a Python program as a test; "Skipped" where a module is missing. A test
# of any kind that prints a line "skipped: why" counts as skipped too.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
function(isaribi_python_test name script)
  cmake_parse_arguments(T "" "" "NEEDS" ${ARGN})
  set(missing "")
  foreach(module ${T_NEEDS})
    execute_process(COMMAND ${Python3_EXECUTABLE} -c "import ${module}" RESULT_VARIABLE failed ERROR_QUIET OUTPUT_QUIET)
    if(failed)
      list(APPEND missing ${module})
    endif()
  endforeach()
  if(missing)
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E echo "skipped: no Python module ${missing}")
  else()
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/${script})
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 SKIP_REGULAR_EXPRESSION "(^|\n)skipped: ")
endfunction()
