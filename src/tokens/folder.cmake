# simdjson reads tokenizer.json; xxHash is header-only here.
find_package(simdjson REQUIRED)
target_link_libraries(${target} PRIVATE simdjson::simdjson)
