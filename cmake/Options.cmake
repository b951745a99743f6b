# Language and warning settings that hold for every target of the project.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

include(GNUInstallDirs)

# The same input gives the same bytes on every machine: the compiler may not fuse or reorder float arithmetic.
add_compile_options(-ffp-contract=off -Wall -Wextra -Wno-unused-parameter)
# GCC 12 sees overlaps and bounds in std::string that are not there (GCC bugs 105329, 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options(-Wno-restrict -Wno-stringop-overread)
endif()
if(SMELT_WARNINGS_AS_ERRORS)
  add_compile_options(-Werror)
endif()

find_program(SMELT_CCACHE ccache)
if(SMELT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SMELT_CCACHE})
endif()

# Sanitizer builds: -DSMELT_SANITIZE=address,undefined or thread.
set(SMELT_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")
if(SMELT_SANITIZE)
  add_compile_options(-fsanitize=${SMELT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SMELT_SANITIZE})
endif()

# Coverage for the fuzzer in every object, its main function only in the targets of tests/fuzz.
if(SMELT_BUILD_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
