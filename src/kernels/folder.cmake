# Code of an instruction set lives in its own folder and is the only code compiled for it: everything shared is a template
# over a type of an anonymous namespace, so the linker cannot merge it into code that runs everywhere.
# GCC 12 warns about "uninitialised" values inside its own AVX-512 headers (its bug 105593).
file(GLOB avx2_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/avx2/*.cc)
file(GLOB avx512_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/avx512/*.cc)
# Debug builds optimise these files too: inline functions of shared headers must be inlined here, or the linker might keep
# this copy of them for everyone.
set_source_files_properties(${avx2_sources} PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Debug>:-O2>;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mlzcnt;-mpopcnt")
set_source_files_properties(${avx512_sources} PROPERTIES COMPILE_OPTIONS
  "$<$<CONFIG:Debug>:-O2>;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mlzcnt;-mpopcnt;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512cd;-mavx512vnni;-mavx512bf16;-mavx512vbmi;-mavx512vbmi2;-mavx512bitalg;-mprefer-vector-width=512;-Wno-uninitialized;-Wno-maybe-uninitialized")
# With detect_stack_use_after_return=1, GCC 12 does not align the frames it moves to the heap to 64 bytes, and an AVX-512
# vector stored in one faults (GCC bug 110027). The other checks of AddressSanitizer stay on.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_FLAGS MATCHES "-fsanitize=[a-z,]*address")
  target_compile_options(${target} PRIVATE --param=asan-use-after-return=0)
endif()
# A kernel works alone on what it is given; races are between the threads that call kernels. Uninstrumented, the embedded
# model runs at a tenth of its speed under ThreadSanitizer instead of a hundredth.
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
  target_compile_options(${target} PRIVATE -fno-sanitize=thread -O2)
endif()
