# xxHash makes the keys of remembered turns.
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE PkgConfig::XXHASH)
