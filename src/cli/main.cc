// Parse, call, print. Commands live in cmd_<name>.cc; commands_<subject>.cc know the flags.
#include <cstdio>
#include <new>
#include <system_error>

#include "cli/arguments.h"
#include "cli/report.h"

int main(int argc, char** argv) {
  using namespace hadal;
  cli::hold_standard_streams();
  cli::install_interrupt_handler();
  // What the libraries throw where no folder could answer: printing to a full disk, memory for a line without end.
  try {
    return cli::finish_output(cli::dispatch(argc, argv));
  } catch (const std::bad_alloc&) {
    return cli::report({ErrorCode::kNoMemory, "no memory is left for this input; give less, or a shorter context"});
  } catch (const std::system_error& e) {
    if (std::ferror(stdout)) return cli::finish_output(0);
    return cli::report({ErrorCode::kIo, fmt::format("the system refused: {}", e.what())});
  }
}
