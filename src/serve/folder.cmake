# Beast and Asio are headers only; the version is named because Debian has two.
find_path(BOOST_ASIO_INCLUDE boost/asio/thread_pool.hpp REQUIRED)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/serve/http_server.cc PROPERTIES COMPILE_OPTIONS "-Wno-shadow")
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE PkgConfig::XXHASH Threads::Threads)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
target_link_libraries(${target} PRIVATE OpenSSL::Crypto)
# JSON and HTTP: much code to compile, little of it on the path of a token.
target_compile_options(${target} PRIVATE ${HADAL_PROGRAM_OPTIONS})
