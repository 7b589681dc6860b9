// A client of the edge's Unix socket, for the command line: one request, one answer, or events as they come.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "sandbox/fd.h"

namespace hadal::sandbox {

struct ClientAnswer {
  int status = 0;
  std::string body;
};

class EdgeClient {
 public:
  explicit EdgeClient(std::string socket) : path_(std::move(socket)) {}

  // kNotFound when no edge listens there.
  Result<ClientAnswer> call(const std::string& method, const std::string& target, const std::string& body = "");
  // The same; an answer that is not 2xx becomes an error with the edge's sentence.
  Result<std::string> ask(const std::string& method, const std::string& target, const std::string& body = "");
  // Events until the end of the stream: name and JSON. false from the callback ends it early.
  Status events(const std::string& method, const std::string& target, const std::string& body,
                const std::function<bool(const std::string&, const std::string&)>& event);

 private:
  Status connect();
  Status send(const std::string& method, const std::string& target, const std::string& body);
  Result<std::string> line();
  Result<bool> more();  // false: the end of the connection
  Result<int> head(std::int64_t& length, bool& chunked);

  std::string path_, buffer_;
  Fd socket_;
};

}  // namespace hadal::sandbox
