#include "serve/page.h"

#include <fmt/core.h>
#include <xxhash.h>

#include <cstddef>
#include <string>

#ifndef HADAL_WEB_DIR
#error "src/serve/folder.cmake defines HADAL_WEB_DIR"
#endif

// As in cli/embedded.cc: the file's bytes in read-only data.
#define HADAL_WEB_FILE(symbol, file)                                                               \
  asm(".pushsection .rodata\n" #symbol "_begin:\n.incbin \"" HADAL_WEB_DIR "/" file "\"\n" #symbol \
      "_end:\n.byte 0\n.popsection\n");                                                            \
  extern "C" __attribute__((visibility("hidden"))) const char symbol##_begin[];                    \
  extern "C" __attribute__((visibility("hidden"))) const char symbol##_end[];

HADAL_WEB_FILE(hadal_web_index, "index.html")
HADAL_WEB_FILE(hadal_web_style, "style.css")
HADAL_WEB_FILE(hadal_web_icon, "icon.svg")
HADAL_WEB_FILE(hadal_web_api, "api.js")
HADAL_WEB_FILE(hadal_web_app, "app.js")
HADAL_WEB_FILE(hadal_web_chat, "chat.js")
HADAL_WEB_FILE(hadal_web_dialogs, "dialogs.js")
HADAL_WEB_FILE(hadal_web_dom, "dom.js")
HADAL_WEB_FILE(hadal_web_markdown, "markdown.js")
HADAL_WEB_FILE(hadal_web_message, "message.js")
HADAL_WEB_FILE(hadal_web_meter, "meter.js")
HADAL_WEB_FILE(hadal_web_sidebar, "sidebar.js")

namespace hadal::serve {
namespace {

constexpr std::string_view kHtml = "text/html; charset=utf-8", kScript = "text/javascript; charset=utf-8";

struct File {
  std::string_view path, type;
  const char *begin, *end;
};

const File kFiles[] = {
    {"/", kHtml, hadal_web_index_begin, hadal_web_index_end},
    {"/web/style.css", "text/css; charset=utf-8", hadal_web_style_begin, hadal_web_style_end},
    {"/web/icon.svg", "image/svg+xml", hadal_web_icon_begin, hadal_web_icon_end},
    {"/web/api.js", kScript, hadal_web_api_begin, hadal_web_api_end},
    {"/web/app.js", kScript, hadal_web_app_begin, hadal_web_app_end},
    {"/web/chat.js", kScript, hadal_web_chat_begin, hadal_web_chat_end},
    {"/web/dialogs.js", kScript, hadal_web_dialogs_begin, hadal_web_dialogs_end},
    {"/web/dom.js", kScript, hadal_web_dom_begin, hadal_web_dom_end},
    {"/web/markdown.js", kScript, hadal_web_markdown_begin, hadal_web_markdown_end},
    {"/web/message.js", kScript, hadal_web_message_begin, hadal_web_message_end},
    {"/web/meter.js", kScript, hadal_web_meter_begin, hadal_web_meter_end},
    {"/web/sidebar.js", kScript, hadal_web_sidebar_begin, hadal_web_sidebar_end},
};

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

}  // namespace

std::optional<Response> page(const Request& request) {
  for (const File& file : kFiles) {
    if (file.path != request.path) continue;
    const std::string_view bytes(file.begin, static_cast<std::size_t>(file.end - file.begin));
    const std::string tag = fmt::format("\"{:016x}\"", XXH3_64bits(bytes.data(), bytes.size()));
    Response response{200, std::string(file.type), {}, {}};
    response.headers = {{"ETag", tag},
                        {"Cache-Control", "no-cache"},
                        {"Content-Security-Policy", std::string(kPolicy)},
                        {"X-Content-Type-Options", "nosniff"},
                        {"Referrer-Policy", "no-referrer"}};
    if (request.header("if-none-match") == tag) {
      response.status = 304;
    } else {
      response.body = bytes;
    }
    return response;
  }
  return std::nullopt;
}

}  // namespace hadal::serve
