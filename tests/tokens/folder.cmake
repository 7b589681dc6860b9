find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/tests/tokens/textbook.cc)
target_link_libraries(${target} PRIVATE nlohmann_json::nlohmann_json OpenSSL::Crypto)
add_dependencies(${target} hadal)  # cmd_tokenize_test runs the program
# Long loops of plain textbook code: unoptimised they would take most of a sanitizer run.
set_source_files_properties(${CMAKE_SOURCE_DIR}/tests/tokens/bpe_test.cc ${CMAKE_SOURCE_DIR}/tests/tokens/textbook.cc
                            ${CMAKE_SOURCE_DIR}/tests/tokens/tokenizer_test.cc PROPERTIES COMPILE_OPTIONS -O1)
