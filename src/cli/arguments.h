// The command-line contract: commands, flags, help texts. The only file pair that knows CLI11.
#pragma once

namespace hadal::cli {

// Parses and runs one command; returns the exit status (2 for wrong usage).
int dispatch(int argc, char** argv);

}  // namespace hadal::cli
