#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_bench(const BenchOptions&) { return report({ErrorCode::kUnsupported, "'hadal bench' is not in this build yet"}); }

}  // namespace hadal::cli
