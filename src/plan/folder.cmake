pkg_check_modules(CAIRO REQUIRED IMPORTED_TARGET cairo cairo-svg cairo-png)
target_link_libraries(${target} PRIVATE PkgConfig::CAIRO)
