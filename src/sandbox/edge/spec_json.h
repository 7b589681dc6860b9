// Requests and answers of the edge as JSON. A field that is not known is refused by name.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/api.h"
#include "sandbox/edge/edge.h"

namespace hadal::sandbox {

Result<CreateSpec> parse_create(std::string_view text);
std::string create_json(const CreateSpec& spec);  // what parse_create reads

struct ExecCall {
  std::string op;  // empty: the edge makes one up
  ExecRequest request;
  bool stream = false;  // events as they come
  // Of a call that is logged and happens once.
  std::string trajectory;
  std::int64_t epoch = 0, seq = 0;  // seq 0: keyed by `op`
  bool idempotent = false;
};
// What the call asks for, with sorted keys and without its place and what only transport needs: its digest tells
// whether a call is the same again.
std::string canonical_exec(std::string_view text);
Result<ExecCall> parse_exec(std::string_view text);

std::string info_json(const SandboxInfo& info);
std::string result_json(const std::string& op, const ExecResult& result);
std::string result_fields(const ExecResult& result);  // the same without op and source
// One object out of two that are not empty.
std::string with_fields(const std::string& first, const std::string& more);
std::string file_info_json(const FileInfo& info);

}  // namespace hadal::sandbox
