# A room is one folder of the architecture: a static library that the tests link and whose objects go into libsmelt.
#
#   smelt_room(NAME SOURCES a.cc b.cc DEPENDS smelt::base PkgConfig::HWY)

function(smelt_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(smelt_${name} STATIC ${ARG_SOURCES})
  add_library(smelt::${name} ALIAS smelt_${name})
  target_include_directories(smelt_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/lib/include)
  target_link_libraries(smelt_${name} PUBLIC ${ARG_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY SMELT_ROOMS smelt_${name})
endfunction()

#   smelt_test(NAME SOURCES a_test.cc DEPENDS smelt::formats)
#
# One GoogleTest program per room, each of its tests a ctest test. Tests find the ground truth through testing.h.
function(smelt_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} smelt_testing GTest::gtest_main GTest::gmock)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()
