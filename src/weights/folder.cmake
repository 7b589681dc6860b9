find_package(simdjson REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE simdjson::simdjson PkgConfig::XXHASH)
# GCC 12 thinks that its own AVX-512 intrinsics read the undefined register that they merge into under a full mask.
set_source_files_properties(src/weights/pack_fp4.cc PROPERTIES COMPILE_OPTIONS
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")
