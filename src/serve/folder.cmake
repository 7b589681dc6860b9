# Beast and Asio are headers only; the version is named because Debian has two.
find_path(BOOST_ASIO_INCLUDE boost/asio/thread_pool.hpp REQUIRED)
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/serve/http_server.cc PROPERTIES COMPILE_OPTIONS "-Wno-shadow")
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
target_link_libraries(${target} PRIVATE PkgConfig::XXHASH Threads::Threads)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
target_link_libraries(${target} PRIVATE OpenSSL::Crypto)
# JSON and HTTP: much code to compile, little of it on the path of a token.
target_compile_options(${target} PRIVATE ${HADAL_PROGRAM_OPTIONS})

# The page is part of the program; a change of its files rebuilds page.cc.
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/serve/page.cc APPEND PROPERTY COMPILE_DEFINITIONS
             HADAL_WEB_DIR="${CMAKE_SOURCE_DIR}/web")
file(GLOB web_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*)
set_property(SOURCE ${CMAKE_SOURCE_DIR}/src/serve/page.cc APPEND PROPERTY OBJECT_DEPENDS "${web_files}")
