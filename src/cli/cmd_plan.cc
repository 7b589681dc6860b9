#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_plan(const PlanOptions&) { return report({ErrorCode::kUnsupported, "'hadal plan' is not in this build yet"}); }

}  // namespace hadal::cli
