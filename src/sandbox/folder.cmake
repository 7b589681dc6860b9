# libseccomp writes the system call filter that the keeper applies.
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
# zstd packs the big outputs of the trajectory log.
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
target_link_libraries(${target} PRIVATE PkgConfig::SECCOMP PkgConfig::ZSTD Threads::Threads)
target_compile_options(${target} PRIVATE ${HADAL_PROGRAM_OPTIONS})
