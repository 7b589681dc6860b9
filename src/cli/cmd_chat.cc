#include "cli/options.h"
#include "cli/report.h"

namespace hadal::cli {

int run_chat_encode(const ChatOptions&) { return report({ErrorCode::kUnsupported, "'hadal chat encode' is not in this build yet"}); }
int run_chat_decode(const ChatOptions&) { return report({ErrorCode::kUnsupported, "'hadal chat decode' is not in this build yet"}); }

}  // namespace hadal::cli
