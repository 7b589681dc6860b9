pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
target_link_libraries(${target} PRIVATE PkgConfig::HWLOC)
