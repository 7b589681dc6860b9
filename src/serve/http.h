// HTTP/1.1 on TCP and Unix sockets: requests in, answers out, whole or piece by piece.
//
// One thread moves bytes for all connections; handlers run on a few worker threads and answer whenever they like, from
// any thread. A connection costs a few kilobytes while nothing happens on it, so ten thousand idle streams are fine.
// TLS is left to a proxy in front.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::serve {

struct Header {
  std::string name, value;
};

struct Request {
  std::string id;  // X-Request-Id of the client if it is a plain word of at most 128 characters, else made here
  std::string method, path, query;  // path and query as sent, split at the '?'
  std::vector<Header> headers;
  std::string body;
  std::string peer;  // "127.0.0.1:50312" or "unix"

  std::string_view header(std::string_view name) const;  // letter case ignored; empty when absent
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<Header> headers;
  std::string body;
};

// One request and its answer: either send() once, or start(), any number of write(), finish(). Thread-safe; calls never
// block. An exchange dropped without an answer answers 500.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;

  virtual void send(Response response) = 0;
  // `heartbeat` is written whenever nothing else was for so many seconds; empty: never. HEAD and HTTP/1.0 clients are
  // taken care of.
  virtual void start(Response head, std::string heartbeat, double heartbeat_seconds) = 0;
  virtual void write(std::string piece) = 0;
  virtual void finish() = 0;

  virtual std::size_t unsent() const = 0;  // bytes given to write() that the client has not taken
  virtual bool closed() const = 0;         // the client left before the answer was complete
  // At most one of each, set before start(). on_closed: once, when the client leaves early (at once if it has left). A
  // client that closes its sending half has left. on_drained: whenever everything written has been taken.
  virtual void on_closed(std::function<void()> call) = 0;
  virtual void on_drained(std::function<void()> call) = 0;
  virtual void later(std::function<void()> work) = 0;  // on a worker thread
};

struct HttpLimits {
  std::size_t header_bytes = 64 << 10;  // of one request; a cookie jar or a long key fits many times over
  std::size_t body_bytes = 64 << 20;    // a million tokens of prose are 4 MB, JSON escapes can treble that
  std::size_t bodies_bytes = std::size_t{512} << 20;  // being received at one time, all connections together
  std::size_t connections = 16384;
  double header_seconds = 20;     // from a request's first byte to the end of its header
  double idle_seconds = 75;       // between requests
  double write_seconds = 60;      // a client that takes nothing for so long is gone
  double body_bytes_rate = 16e3;  // bytes per second below which a body is given up, after header_seconds of grace
};

struct HttpOptions {
  std::string host = "127.0.0.1";  // an address, not a name
  int port = 0;                    // 0: a free one; -1: no TCP
  std::string unix_path;           // empty: no Unix socket
  int workers = 4;                 // threads that run handlers: a long prompt being tokenised must not hold up streams
  HttpLimits limits;
};

struct HttpCounters {
  std::int64_t connections = 0, accepted = 0, requests = 0, refused = 0, left = 0;
};

class HttpServer {
 public:
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // What to answer when the transport itself refuses a request: too large, too slow, not HTTP. Path may be empty.
  using Refusal = std::function<Response(std::string_view path, int status, const std::string& sentence)>;

  virtual ~HttpServer() = default;  // closes everything

  // Listens and serves. kUsage: the address cannot be understood; kIo: it cannot be listened on.
  static Result<std::unique_ptr<HttpServer>> start(const HttpOptions& options, Handler handler, Refusal refusal);

  virtual int port() const = 0;  // of TCP; 0 without
  virtual HttpCounters counters() const = 0;

  // No new connections; idle ones are closed, busy ones after their answer. Waits at most so long, then closes what is
  // left. True: nothing was cut.
  virtual bool drain(double seconds) = 0;
};

// "Bad Request" and so on.
std::string_view reason_phrase(int status);

}  // namespace hadal::serve
