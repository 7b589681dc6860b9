# The nano model is part of the program; a change of its files rebuilds embedded.cc.
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/cli/embedded.cc APPEND PROPERTY COMPILE_DEFINITIONS
             HADAL_NANO_DIR="${CMAKE_SOURCE_DIR}/nano/weights")
file(GLOB nano_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/nano/weights/*)
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/cli/embedded.cc APPEND PROPERTY OBJECT_DEPENDS "${nano_files}")

find_package(simdjson REQUIRED)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
target_link_libraries(hadal PRIVATE simdjson::simdjson PkgConfig::LIBEDIT)

set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/cli/command_line.cc APPEND PROPERTY COMPILE_DEFINITIONS
             HADAL_VERSION="${PROJECT_VERSION}")
