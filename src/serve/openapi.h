// The server's OpenAPI document.
#pragma once

#include <string>

namespace hadal::serve {

std::string openapi_document();

}  // namespace hadal::serve
