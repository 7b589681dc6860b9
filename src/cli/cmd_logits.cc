#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_logits(const LogitsOptions&) { return report({ErrorCode::kUnsupported, "'hadal logits' is not in this build yet"}); }

}  // namespace hadal::cli
