add_dependencies(${target} hadal-keeper)
# Containers of one machine share its control groups and mounts.
set(one_at_a_time ON)
