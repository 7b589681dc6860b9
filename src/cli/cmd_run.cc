#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_run(const RunOptions&) { return report({ErrorCode::kUnsupported, "'hadal run' is not in this build yet"}); }

}  // namespace hadal::cli
