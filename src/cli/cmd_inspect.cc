#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_inspect(const InspectOptions&) { return report({ErrorCode::kUnsupported, "'hadal inspect' is not in this build yet"}); }

}  // namespace hadal::cli
