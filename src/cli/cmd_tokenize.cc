#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_tokenize(const TokenizeOptions&) { return report({ErrorCode::kUnsupported, "'hadal tokenize' is not in this build yet"}); }

}  // namespace hadal::cli
