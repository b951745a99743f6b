# A room is one folder of the architecture: a static library that the tests link and whose objects go into libsmelt.
#
#   smelt_room(NAME SOURCES a.cc b.cc SEPARATE c.cc DEPENDS smelt::base PkgConfig::HWY)
#
# With SMELT_UNITY several SOURCES are compiled as one, which saves reading their headers again; so names in the anonymous
# namespaces of a room differ. SEPARATE are those that cannot join: kernels, which include themselves once per instruction set,
# and files that use names of others.
function(smelt_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;SEPARATE;DEPENDS" ${ARGN})
  add_library(smelt_${name} STATIC ${ARG_SOURCES} ${ARG_SEPARATE})
  smelt_join_sources(smelt_${name} 16)
  set_source_files_properties(${ARG_SEPARATE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  add_library(smelt::${name} ALIAS smelt_${name})
  target_include_directories(smelt_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/lib/include)
  target_link_libraries(smelt_${name} PUBLIC ${ARG_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY SMELT_ROOMS smelt_${name})
endfunction()

# With SMELT_UNITY, compiles a target's sources so many at a time.
function(smelt_join_sources target count)
  if(SMELT_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${count})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -Wno-subobject-linkage)  # it takes the joined files for headers
    endif()
  endif()
endfunction()

#   smelt_test(NAME SOURCES a_test.cc DEPENDS smelt::formats)
#
# One GoogleTest program per room, each of its tests a ctest test. Tests find the ground truth through testing.h. Their sources are
# joined as a room's are.
set(SMELT_TEST_TIMEOUT 300)  # seconds
if(SMELT_SANITIZE)
  set(SMELT_TEST_TIMEOUT 1800)
endif()
function(smelt_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  smelt_join_sources(${name} 8)
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} smelt_testing GTest::gtest_main GTest::gmock)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${SMELT_TEST_TIMEOUT})
endfunction()

# A test that knows Vulkan's functions, where there are any.
function(smelt_vulkan_test name)
  if(SMELT_HAS_VULKAN)
    target_include_directories(${name} SYSTEM PRIVATE ${SMELT_VOLK_INCLUDE_DIR})
    target_compile_definitions(${name} PRIVATE SMELT_HAS_VULKAN)
  endif()
endfunction()
