// A rendered prompt as token ids: markers of the template are tokens, everything else is characters.
#pragma once

#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "chat/codec.h"
#include "tokens/tokenizer.h"

namespace hadal::chat {

// Text from users, tools and the model is tokenised literally: a marker spelled in it does not become one.
// kUnsupported if the tokenizer has no token for a marker that was written.
Result<std::vector<TokenId>> prompt_tokens(const Tokenizer& tokenizer, const Rendered& rendered);

}  // namespace hadal::chat
