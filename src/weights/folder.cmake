find_package(simdjson REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE simdjson::simdjson PkgConfig::XXHASH)
