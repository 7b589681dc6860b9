// The command line as a whole: which commands there are, and what is said about words that fit none of them.
#pragma once

namespace hadal::cli {

// Parses and runs one command; returns the exit status (2 for wrong usage).
int dispatch(int argc, char** argv);

}  // namespace hadal::cli
