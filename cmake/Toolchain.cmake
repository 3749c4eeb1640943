# SPDX-License-Identifier: Apache-2.0
# Compiler flags, sanitizers, and the faster tools when the machine has them.
option(EMU_WERROR "Treat warnings as errors" ON)
set(EMU_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined or thread)")

if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(EMU_CCACHE ccache)
  if(EMU_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${EMU_CCACHE})
    set(CMAKE_C_COMPILER_LAUNCHER ${EMU_CCACHE})
  endif()
endif()
find_program(EMU_MOLD mold)
if(EMU_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# Everything that our own code is compiled with.
add_library(emu_flags INTERFACE)
target_compile_options(emu_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers
  $<$<BOOL:${EMU_WERROR}>:-Werror> -fno-strict-aliasing)
# Checks every translated block's IR; it takes as long as translating does.
target_compile_definitions(emu_flags INTERFACE $<$<CONFIG:Debug>:EMU_VERIFY_IR>)
if(EMU_SANITIZE)
  # With its checks in between, the compiler sees overflows that cannot happen (its manual says so of these warnings).
  add_compile_options(-fsanitize=${EMU_SANITIZE} -fno-omit-frame-pointer -Wno-stringop-overflow -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${EMU_SANITIZE})
endif()
