# SPDX-License-Identifier: MIT
# What `cmake --install` copies: bin/isaribi, lib/isaribi/*.so (modules), share/isaribi/{inputs,jobscripts}. The build folder
# has the same shape, since the program looks for its modules in ../lib/isaribi.
include_guard()
include(GNUInstallDirs)

set_target_properties(isaribi PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS isaribi RUNTIME DESTINATION bin)
foreach(module cuda kokkos nccl)
  if(TARGET isaribi_${module}_module)
    install(TARGETS isaribi_${module}_module LIBRARY DESTINATION lib/isaribi)
  endif()
endforeach()
install(DIRECTORY inputs jobscripts DESTINATION share/isaribi USE_SOURCE_PERMISSIONS)
install(FILES README.md LICENSE DESTINATION share/isaribi)
