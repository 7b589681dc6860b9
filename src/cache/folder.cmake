find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE PkgConfig::XXHASH Threads::Threads)
