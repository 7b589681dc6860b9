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

# The keeper is its own program: static, because it is also process 1 of a container, which may hold no libraries; and
# small, because one runs per container. Containers need it beside hadal.
add_executable(hadal-keeper ${CMAKE_SOURCE_DIR}/src/cli/keeper/main.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/cgroups/cgroups.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/cgroups/control_files.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/child.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/child_files.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/keeper.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/keeper_config.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/keeper_wire.cc
               ${CMAKE_SOURCE_DIR}/src/sandbox/container/launch.cc)
target_include_directories(hadal-keeper PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(hadal-keeper PRIVATE fmt::fmt-header-only)
target_compile_options(hadal-keeper PRIVATE -Os -fno-sanitize=all)
target_link_options(hadal-keeper PRIVATE -static -fno-sanitize=all -Wl,--gc-sections)
add_dependencies(hadal hadal-keeper)
