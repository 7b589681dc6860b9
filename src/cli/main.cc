// Parse, call, print. Commands live in cmd_<name>.cc; arguments.cc knows the flags.
#include "cli/arguments.h"
#include "cli/report.h"

int main(int argc, char** argv) {
  hadal::cli::install_interrupt_handler();
  return hadal::cli::dispatch(argc, argv);
}
