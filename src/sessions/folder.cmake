# xxHash is header-only here; SQLite holds the index of the session store.
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)
target_link_libraries(${target} PRIVATE PkgConfig::SQLITE3)
