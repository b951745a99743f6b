# Headers, library, program, CMake package and pkg-config file: everything finds the rest relative to itself, so that
# `cmake --install build --prefix ANYWHERE` gives a tree that can be moved.
include(CMakePackageConfigHelpers)

set(SMELT_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/smelt)

install(TARGETS smelt EXPORT smelt-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/lib/include/smelt DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")

# bin/smelt finds lib/libsmelt.so beside itself, whatever the prefix.
file(RELATIVE_PATH SMELT_LIBRARY_FROM_PROGRAM ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
if(TARGET smelt_program)
  set_target_properties(smelt_program PROPERTIES INSTALL_RPATH "$ORIGIN/${SMELT_LIBRARY_FROM_PROGRAM}")
  install(TARGETS smelt_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# find_package(smelt) gives smelt::smelt.
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/smelt-config.cmake.in
                              ${PROJECT_BINARY_DIR}/smelt-config.cmake INSTALL_DESTINATION ${SMELT_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/smelt-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/smelt-config.cmake ${PROJECT_BINARY_DIR}/smelt-config-version.cmake
        DESTINATION ${SMELT_CMAKE_DIR})
install(EXPORT smelt-targets NAMESPACE smelt:: DESTINATION ${SMELT_CMAKE_DIR})

# pkg-config smelt.
file(RELATIVE_PATH SMELT_PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/smelt.pc.in ${PROJECT_BINARY_DIR}/smelt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/smelt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
