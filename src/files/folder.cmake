find_package(simdjson REQUIRED)
pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing)
target_link_libraries(${target} PRIVATE simdjson::simdjson PkgConfig::LIBURING Threads::Threads)
