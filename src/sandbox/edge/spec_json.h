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
};
Result<ExecCall> parse_exec(std::string_view text);

std::string info_json(const SandboxInfo& info);
std::string result_json(const std::string& op, const ExecResult& result);
std::string file_info_json(const FileInfo& info);

}  // namespace hadal::sandbox
