// The browser interface: the files of web/, embedded in the program.
#pragma once

#include <optional>
#include <string_view>

#include "serve/http.h"

namespace hadal::serve {

// The answer to GET / and GET /web/NAME, or nothing where there is no such file. Every file has an ETag of its bytes
// and is asked for again each time, so a page never mixes two releases. The content security policy allows this
// server's own scripts, styles and requests and nothing else; no text of a model can become a script.
std::optional<Response> page(const Request& request);

}  // namespace hadal::serve
