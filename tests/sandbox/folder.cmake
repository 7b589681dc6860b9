add_dependencies(${target} hadal-keeper)
