#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_completion(const std::string&) { return report({ErrorCode::kUnsupported, "'hadal completion' is not in this build yet"}); }

}  // namespace hadal::cli
