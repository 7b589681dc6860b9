add_dependencies(${target} hadal)  # the tests run the program
