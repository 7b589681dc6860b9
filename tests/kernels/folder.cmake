target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests/kernels/compare_sets.cc)
