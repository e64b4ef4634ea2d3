# SPDX-License-Identifier: MIT
# How our targets are made: one static library per folder, strict warnings, the same standard everywhere.
include_guard()

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Properties of all our own code.
add_library(isaribi_options INTERFACE)
target_compile_features(isaribi_options INTERFACE cxx_std_20)
target_include_directories(isaribi_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src)
target_compile_options(
  isaribi_options
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall
            -Wextra
            -Wshadow
            -Wnon-virtual-dtor
            -Woverloaded-virtual>
            $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${ISARIBI_WERROR}>>:-Werror>)
if(ISARIBI_SANITIZE)
  list(JOIN ISARIBI_SANITIZE "," sanitizers)
  target_compile_options(isaribi_options INTERFACE -fsanitize=${sanitizers} -fno-omit-frame-pointer -g)
  target_link_options(isaribi_options INTERFACE -fsanitize=${sanitizers})
endif()

# isaribi_library(NAME FILE...): static library isaribi_NAME, also known as isaribi::NAME.
function(isaribi_library name)
  add_library(isaribi_${name} STATIC ${ARGN})
  add_library(isaribi::${name} ALIAS isaribi_${name})
  target_link_libraries(isaribi_${name} PUBLIC isaribi_options)
endfunction()

# isaribi_module(NAME FILE...): what is opened at run time: lib/isaribi/isaribi_NAME.so, target isaribi_NAME_module.
# isaribi::NAME of a backend, linked into the executable, depends on it, so that building the program builds it.
function(isaribi_module name)
  add_library(isaribi_${name}_module MODULE ${ARGN})
  set_target_properties(
    isaribi_${name}_module
    PROPERTIES PREFIX ""
               OUTPUT_NAME isaribi_${name}
               LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/isaribi
               CXX_VISIBILITY_PRESET hidden
               CUDA_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               INSTALL_RPATH_USE_LINK_PATH ON)
  target_link_libraries(isaribi_${name}_module PRIVATE isaribi_options)
  target_link_options(isaribi_${name}_module PRIVATE LINKER:--no-undefined)
  # CMake 3.25 knows no CUDA_STANDARD 20, so the flag is ours.
  target_compile_options(isaribi_${name}_module PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20
                                                       -Xcompiler=-Wall,-Wextra>)
  if(ISARIBI_WERROR)
    target_compile_options(isaribi_${name}_module PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
  if(TARGET isaribi_${name})
    add_dependencies(isaribi_${name} isaribi_${name}_module)
  endif()
endfunction()
