add_dependencies(${target} hadal)  # program_test.cc runs the program
