# SPDX-License-Identifier: MIT
# Script mode: INPUT with the commit of SOURCE filled in becomes OUTPUT, which is written only when it changes.
cmake_minimum_required(VERSION 3.25)
set(ISARIBI_GIT_HASH "unknown")
if(GIT)
  execute_process(
    COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE hash
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    RESULT_VARIABLE failed)
  if(NOT failed)
    set(ISARIBI_GIT_HASH ${hash})
  endif()
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
