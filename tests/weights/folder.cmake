# A simulation of hundreds of thousands of choices: unoptimised it would take a tenth of a sanitizer run.
set_source_files_properties(${CMAKE_SOURCE_DIR}/tests/weights/expert_policy_test.cc PROPERTIES COMPILE_OPTIONS -O1)
