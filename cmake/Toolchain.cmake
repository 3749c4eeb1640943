# SPDX-License-Identifier: Apache-2.0
# Compiler flags, sanitizers, and the faster tools when the machine has them.
option(EMU_WERROR "Treat warnings as errors" ON)
option(EMU_FUZZ "Build the libFuzzer targets of tests/fuzz instead of the other tests (Clang)" OFF)
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

if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 17)
  # It has coroutines as the standard has them, but only later versions say so, and libstdc++'s header asks.
  add_compile_definitions(__cpp_impl_coroutine=201902L)
endif()

# Everything that our own code is compiled with.
add_library(emu_flags INTERFACE)
target_compile_options(emu_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers
  $<$<BOOL:${EMU_WERROR}>:-Werror> -fno-strict-aliasing
  # EMU_TRY inside EMU_TRY.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-shadow>)
# Checks every translated block's IR; it takes as long as translating does.
target_compile_definitions(emu_flags INTERFACE $<$<CONFIG:Debug>:EMU_VERIFY_IR>)
if(EMU_SANITIZE)
  # With its checks in between, the compiler sees overflows that cannot happen (its manual says so of these warnings).
  add_compile_options(-fsanitize=${EMU_SANITIZE} -fno-omit-frame-pointer)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-stringop-overflow -Wno-maybe-uninitialized)
  endif()
  add_link_options(-fsanitize=${EMU_SANITIZE})
endif()
if(EMU_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # What the sanitizers find ends the run. Clang's check of calls through pointers cannot be assembled for coroutines.
  add_compile_options(-fno-sanitize-recover=all -fno-sanitize=function)
endif()
if(EMU_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "EMU_FUZZ needs Clang, whose runtime libFuzzer is part of: cmake --preset fuzz")
  endif()
  # Counters for libFuzzer in all code; its main comes with the targets alone.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
