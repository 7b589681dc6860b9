add_dependencies(${target} hadal)  # logits_cli_test runs the program
