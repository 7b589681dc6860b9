# libseccomp writes the system call filter that the keeper applies.
pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp)
target_link_libraries(${target} PRIVATE PkgConfig::SECCOMP Threads::Threads)
target_compile_options(${target} PRIVATE ${HADAL_PROGRAM_OPTIONS})
