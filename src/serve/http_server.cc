#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/log.h"
#include "serve/http.h"

namespace hadal::serve {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using Socket = asio::generic::stream_protocol::socket;

std::chrono::nanoseconds seconds_of(double s) { return std::chrono::nanoseconds(static_cast<std::int64_t>(s * 1e9)); }

// 64 random bits as hexadecimal digits. Only has to differ between requests.
std::string make_id() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}", random());
}

bool plain_word(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
  });
}

class Connection;

// What connections share. Everything but the atomics belongs to the network thread.
struct Hub {
  explicit Hub(const HttpOptions& o) : options(o), pool(static_cast<std::size_t>(std::max(1, o.workers))) {}
  HttpOptions options;
  HttpServer::Handler handler;
  HttpServer::Refusal refusal;
  asio::io_context io{1};
  asio::thread_pool pool;
  std::unordered_set<Connection*> connections;
  std::size_t body_bytes = 0;  // reserved for bodies being received
  bool draining = false;
  std::atomic<std::int64_t> count{0}, accepted{0}, requests{0}, refused{0}, left{0};
  std::mutex mutex;
  std::condition_variable empty;
};

// State of one exchange that both its user's threads and the network thread touch.
struct Channel {
  std::shared_ptr<Connection> connection;  // until the answer is complete or the client left; network thread only
  std::atomic<std::size_t> unsent{0};
  std::atomic<bool> closed{false};
  std::function<void()> on_closed, on_drained;  // network thread only
};

// One client's socket. All members run on the network thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Hub> hub, Socket socket, std::string peer)
      : hub_(std::move(hub)),
        socket_(std::move(socket)),
        deadline_(hub_->io),
        heartbeat_timer_(hub_->io),
        peer_(std::move(peer)) {
    hub_->connections.insert(this);
    ++hub_->count;
  }
  ~Connection() {
    release_body();
    hub_->connections.erase(this);
    const std::lock_guard lock(hub_->mutex);
    if (--hub_->count == 0) hub_->empty.notify_all();
  }

  void run() { next_request(); }
  void drain() {
    if (!answering_) close();
    keep_alive_ = false;
  }
  void close() {
    error_code ignored;
    deadline_.cancel();
    heartbeat_timer_.cancel();
    socket_.close(ignored);
    client_left();
  }

  // From the exchange.
  void send(const std::shared_ptr<Channel>& channel, Response response) {
    if (channel != channel_) return;
    begin_head(response);
    head_ += fmt::format("Content-Length: {}\r\n\r\n", response.body.size());
    if (!is_head_) head_ += response.body;
    finishing_ = true;
    push(std::move(head_));
  }
  void start(const std::shared_ptr<Channel>& channel, Response head, std::string heartbeat, double every) {
    if (channel != channel_) return;
    streaming_ = true;
    begin_head(head);
    chunked_ = version_ >= 11;
    if (chunked_) head_ += "Transfer-Encoding: chunked\r\n";
    head_ += "\r\n";
    std::string first = std::move(head_);
    heartbeat_ = std::move(heartbeat);
    heartbeat_every_ = every;
    if (!head.body.empty() && !is_head_) first += framed(head.body);
    push(std::move(first));
  }
  void write(const std::shared_ptr<Channel>& channel, std::string piece) {
    const std::size_t size = piece.size();
    if (channel != channel_ || piece.empty() || is_head_ || finishing_)
      channel->unsent -= size;
    else
      push(framed(piece), size);
  }
  void finish(const std::shared_ptr<Channel>& channel) {
    if (channel != channel_ || finishing_) return;
    finishing_ = true;
    heartbeat_timer_.cancel();
    if (chunked_ && !is_head_)
      push("0\r\n\r\n");
    else if (!writing_)
      answer_complete();
  }

 private:
  // A deadline for what goes on now; the connection is closed when it passes.
  void expect_within(double seconds, bool says_why = false) {
    deadline_.expires_after(seconds_of(seconds));
    deadline_.async_wait([self = shared_from_this(), says_why](error_code e) {
      if (e) return;
      if (!says_why || self->answering_) return self->close();
      // The read that is under way ends first; broken() goes on from there.
      self->timed_out_ = true;
      error_code ignored;
      self->socket_.cancel(ignored);
    });
  }

  void next_request() {
    parser_.reset();
    if (buffer_.size() > 0) return read_header();
    if (hub_->draining) return close();
    expect_within(hub_->options.limits.idle_seconds);
    read_some();
  }

  // The one read that is under way outside the parser: the first bytes of a request, or a look-out for the client's
  // leaving while its answer is being made.
  void read_some() {
    if (reading_) return;
    reading_ = true;
    socket_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code e, std::size_t n) {
      self->reading_ = false;
      self->buffer_.commit(n);
      self->after_read(e);
    });
  }
  void after_read(error_code e) {
    if (lingering_) {
      buffer_.consume(buffer_.size());
      if (e) return close();
      return read_some();
    }
    if (std::exchange(resuming_, false) && e == asio::error::operation_aborted) return next_request();
    if (e) return close();
    if (!answering_) return read_header();
    // A pipelined request waits in the buffer; a client that sends on and on without reading is not read further.
    if (buffer_.size() < hub_->options.limits.header_bytes) read_some();
  }

  void read_header() {
    const HttpLimits& limits = hub_->options.limits;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    parser_->body_limit(limits.body_bytes);
    expect_within(limits.header_seconds, true);
    http::async_read_header(socket_, buffer_, *parser_, [self = shared_from_this()](error_code e, std::size_t) {
      if (e) return self->broken(e);
      self->header_complete();
    });
  }

  void header_complete() {
    const HttpLimits& limits = hub_->options.limits;
    const auto length = parser_->content_length();
    std::size_t expected = length ? static_cast<std::size_t>(*length) : parser_->chunked() ? limits.body_bytes : 0;
    if (expected > limits.body_bytes) return broken(http::error::body_limit);
    if (hub_->body_bytes + expected > limits.bodies_bytes)
      return refuse(503, "the server is receiving too many large requests; try again in a moment");
    hub_->body_bytes += reserved_ = expected;
    expect_within(limits.header_seconds + static_cast<double>(expected) / limits.body_bytes_rate, true);
    if (boost::beast::iequals(parser_->get()[http::field::expect], "100-continue") && !parser_->is_done()) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(socket_, asio::buffer(kContinue), [self = shared_from_this()](error_code e, std::size_t) {
        if (e) return self->close();
        self->read_body();
      });
      return;
    }
    read_body();
  }
  void read_body() {
    http::async_read(socket_, buffer_, *parser_, [self = shared_from_this()](error_code e, std::size_t) {
      if (e) return self->broken(e);
      self->request_complete();
    });
  }

  // The request cannot be read to its end.
  void broken(error_code e) {
    if (timed_out_ && e == asio::error::operation_aborted)
      return refuse(408, "the request took too long to arrive; send it faster");
    if (e == http::error::end_of_stream || e == asio::error::operation_aborted) return close();
    if (e == http::error::partial_message) return close();
    if (e == http::error::body_limit)
      return refuse(413, fmt::format("the request's body is larger than {} bytes; shorten it or raise --max-body",
                                     hub_->options.limits.body_bytes));
    if (e == http::error::header_limit)
      return refuse(431,
                    fmt::format("the request's header is larger than {} bytes", hub_->options.limits.header_bytes));
    if (e.category() == http::make_error_code(http::error::bad_method).category())
      return refuse(400, fmt::format("this is not an HTTP/1.1 request: {}", e.message()));
    close();
  }
  void refuse(int status, const std::string& sentence) {
    ++hub_->refused;
    release_body();
    std::string path;
    if (parser_) path = std::string(parser_->get().target());  // empty when the request line was not read
    path = path.substr(0, path.find('?'));
    Response response = hub_->refusal(path, status, sentence);
    keep_alive_ = false;
    is_head_ = false;
    version_ = 11;
    begin_answer();
    send(channel_, std::move(response));
  }

  void request_complete() {
    deadline_.cancel();
    auto message = parser_->release();
    keep_alive_ = message.keep_alive() && !hub_->draining;
    is_head_ = message.method() == http::verb::head;
    version_ = message.version();
    Request request;
    request.method = std::string(message.method_string());
    request.path = std::string(message.target());
    if (auto mark = request.path.find('?'); mark != std::string::npos) {
      request.query = request.path.substr(mark + 1);
      request.path.resize(mark);
    }
    for (const auto& field : message)
      request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    request.body = std::move(message.body());
    request.peer = peer_;
    request.id = std::string(request.header("x-request-id"));
    if (!plain_word(request.id)) request.id = make_id();
    request_id_ = request.id;
    release_body();
    ++hub_->requests;
    begin_answer();
    hand_over(std::move(request));
    read_some();
  }
  void begin_answer() {
    answering_ = true;
    finishing_ = streaming_ = chunked_ = false;
    heartbeat_.clear();
    channel_ = std::make_shared<Channel>();
    channel_->connection = shared_from_this();
  }
  void hand_over(Request request);

  void release_body() {
    hub_->body_bytes -= reserved_;
    reserved_ = 0;
  }

  void begin_head(const Response& response) {
    // Without chunks only the connection's end tells where an answer of unknown length ends.
    if (hub_->draining || (version_ < 11 && streaming_)) keep_alive_ = false;
    head_ = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n", response.status, reason_phrase(response.status),
                        response.content_type);
    if (!request_id_.empty()) head_ += "X-Request-Id: " + request_id_ + "\r\n";
    for (const Header& h : response.headers) {
      head_ += h.name + ": ";
      // A line break in a value would end the header.
      for (char c : h.value) head_ += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
      head_ += "\r\n";
    }
    if (!keep_alive_)
      head_ += "Connection: close\r\n";
    else if (version_ < 11)
      head_ += "Connection: keep-alive\r\n";
  }
  std::string framed(const std::string& piece) const {
    return chunked_ ? fmt::format("{:x}\r\n", piece.size()) + piece + "\r\n" : piece;
  }

  // `counted`: bytes of it that are in Channel::unsent.
  void push(std::string bytes, std::size_t counted = 0) {
    out_.push_back(std::move(bytes));
    waiting_ += counted;
    if (!writing_) flush();
  }
  void flush() {
    writing_ = true;
    heartbeat_timer_.cancel();
    in_flight_.assign(std::make_move_iterator(out_.begin()), std::make_move_iterator(out_.end()));
    out_.clear();
    taken_ = std::exchange(waiting_, 0);
    std::vector<asio::const_buffer> buffers;
    for (const std::string& s : in_flight_) buffers.push_back(asio::buffer(s));
    write_some(std::move(buffers));
  }
  // One write at a time, so that the deadline is from the client's last progress, not from the start of a long answer.
  void write_some(std::vector<asio::const_buffer> buffers) {
    expect_within(hub_->options.limits.write_seconds);
    socket_.async_write_some(buffers, [self = shared_from_this(), buffers](error_code e, std::size_t n) mutable {
      if (e) return self->close();
      while (!buffers.empty() && n >= buffers.front().size()) {
        n -= buffers.front().size();
        buffers.erase(buffers.begin());
      }
      if (!buffers.empty()) {
        buffers.front() += n;
        return self->write_some(std::move(buffers));
      }
      self->written();
    });
  }
  void written() {
    writing_ = false;
    deadline_.cancel();
    in_flight_.clear();
    if (channel_) channel_->unsent -= taken_;
    taken_ = 0;
    if (!out_.empty()) return flush();
    if (finishing_) return answer_complete();
    if (channel_ && channel_->on_drained) channel_->on_drained();
    wait_heartbeat();
  }
  void wait_heartbeat() {
    if (!streaming_ || heartbeat_.empty() || is_head_) return;
    heartbeat_timer_.expires_after(seconds_of(heartbeat_every_));
    heartbeat_timer_.async_wait([self = shared_from_this()](error_code e) {
      if (!e && self->channel_ && !self->finishing_ && !self->writing_) self->push(self->framed(self->heartbeat_));
    });
  }

  void answer_complete() {
    if (auto channel = std::move(channel_)) {
      channel->on_closed = channel->on_drained = nullptr;
      channel->connection.reset();
    }
    channel_.reset();
    answering_ = streaming_ = false;
    request_id_.clear();
    if (keep_alive_) {
      if (reading_ && buffer_.size() > 0) {  // the next request is here: end the look-out, then read it
        resuming_ = true;
        error_code ignored;
        socket_.cancel(ignored);
        return;
      }
      if (reading_) {  // the look-out becomes the wait for the next request
        expect_within(hub_->options.limits.idle_seconds);
        return;
      }
      return next_request();
    }
    // Closing at once would make the kernel discard the answer if the client is still sending.
    lingering_ = true;
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    expect_within(2);
    buffer_.consume(buffer_.size());
    read_some();
  }
  void client_left() {
    auto channel = std::move(channel_);
    channel_.reset();
    if (!channel) return;
    ++hub_->left;
    channel->closed = true;
    auto call = std::move(channel->on_closed);
    channel->on_drained = nullptr;
    if (call) call();
    channel->connection.reset();
  }

  std::shared_ptr<Hub> hub_;
  Socket socket_;
  asio::steady_timer deadline_, heartbeat_timer_;
  std::string peer_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::shared_ptr<Channel> channel_;  // of the exchange being answered
  std::size_t reserved_ = 0;          // of Hub::body_bytes
  std::string request_id_, head_, heartbeat_;
  double heartbeat_every_ = 0;
  std::deque<std::string> out_;
  std::vector<std::string> in_flight_;
  std::size_t waiting_ = 0, taken_ = 0;  // of Channel::unsent: in out_, in in_flight_
  unsigned version_ = 11;
  bool reading_ = false, answering_ = false, writing_ = false, finishing_ = false, streaming_ = false, chunked_ = false;
  bool keep_alive_ = true, is_head_ = false, lingering_ = false, timed_out_ = false, resuming_ = false;
};

class ExchangeImpl final : public Exchange {
 public:
  ExchangeImpl(std::shared_ptr<Hub> hub, std::shared_ptr<Channel> channel, Request request)
      : hub_(std::move(hub)), channel_(std::move(channel)), request_(std::move(request)) {}
  ~ExchangeImpl() override {
    if (!answered_)
      send(hub_->refusal(request_.path, 500, "the server gave no answer; this is a mistake in hadal"));
    else if (!finished_)
      finish();
  }

  const Request& request() const override { return request_; }
  void send(Response response) override {
    answered_ = finished_ = true;
    in_network([response = std::move(response)](Connection& c, const std::shared_ptr<Channel>& channel) mutable {
      c.send(channel, std::move(response));
    });
  }
  void start(Response head, std::string heartbeat, double heartbeat_seconds) override {
    answered_ = true;
    in_network([head = std::move(head), heartbeat = std::move(heartbeat), heartbeat_seconds](
                   Connection& c, const std::shared_ptr<Channel>& channel) mutable {
      c.start(channel, std::move(head), std::move(heartbeat), heartbeat_seconds);
    });
  }
  void write(std::string piece) override {
    channel_->unsent += piece.size();
    in_network([piece = std::move(piece)](Connection& c, const std::shared_ptr<Channel>& channel) mutable {
      c.write(channel, std::move(piece));
    });
  }
  void finish() override {
    finished_ = true;
    in_network([](Connection& c, const std::shared_ptr<Channel>& channel) { c.finish(channel); });
  }
  std::size_t unsent() const override { return channel_->unsent; }
  bool closed() const override { return channel_->closed; }
  void on_closed(std::function<void()> call) override {
    asio::post(hub_->io, [channel = channel_, call = std::move(call)]() mutable {
      if (channel->closed) return call();
      if (channel->connection) channel->on_closed = std::move(call);
    });
  }
  void on_drained(std::function<void()> call) override {
    asio::post(hub_->io, [channel = channel_, call = std::move(call)]() mutable {
      if (channel->connection) channel->on_drained = std::move(call);
    });
  }
  void later(std::function<void()> work) override { asio::post(hub_->pool, std::move(work)); }

 private:
  template <class Call>
  void in_network(Call call) {
    asio::post(hub_->io, [channel = channel_, call = std::move(call)]() mutable {
      if (auto connection = channel->connection) call(*connection, channel);
    });
  }
  std::shared_ptr<Hub> hub_;
  std::shared_ptr<Channel> channel_;
  Request request_;
  std::atomic<bool> answered_{false}, finished_{false};
};

void Connection::hand_over(Request request) {
  auto exchange = std::make_shared<ExchangeImpl>(hub_, channel_, std::move(request));
  // A raw pointer: the pool is joined before the hub goes.
  asio::post(hub_->pool,
             [hub = hub_.get(), exchange = std::move(exchange)]() mutable { hub->handler(std::move(exchange)); });
}

class Server final : public HttpServer {
 public:
  Server(const HttpOptions& options, Handler handler, Refusal refusal) : hub_(std::make_shared<Hub>(options)) {
    hub_->handler = std::move(handler);
    hub_->refusal = std::move(refusal);
  }
  ~Server() override {
    if (thread_.joinable()) {
      asio::post(hub_->io, [this] { stop_listening(); });
      hub_->pool.join();
      asio::post(hub_->io, [this] { close_all(); });
      thread_.join();  // once nothing is open the network thread has no work left and ends
    }
    if (!unix_path_.empty()) unlink(unix_path_.c_str());
  }

  Status listen() {
    const HttpOptions& o = hub_->options;
    if (o.port >= 0) {
      error_code e;
      const auto address = asio::ip::make_address(o.host, e);
      if (e) return fail(ErrorCode::kUsage, "'{}' is not an IP address; give one like 127.0.0.1 or ::1", o.host);
      tcp_.emplace(hub_->io);
      const asio::ip::tcp::endpoint endpoint(address, static_cast<std::uint16_t>(o.port));
      auto steps = [&] {
        tcp_->open(endpoint.protocol(), e);
        if (!e) tcp_->set_option(asio::socket_base::reuse_address(true), e);
        if (!e) tcp_->bind(endpoint, e);
        if (!e) tcp_->listen(4096, e);
        if (!e) port_ = tcp_->local_endpoint(e).port();
      };
      steps();
      if (e)
        return fail(ErrorCode::kIo, "cannot listen on {} port {}: {}; is another server running?", o.host, o.port,
                    e.message());
    }
    if (!o.unix_path.empty()) HADAL_CHECK_OK(listen_unix(o.unix_path));
    if (tcp_) accept(*tcp_);
    if (unix_) accept(*unix_);
    thread_ = std::thread([this] { hub_->io.run(); });
    return {};
  }

  int port() const override { return port_; }
  HttpCounters counters() const override {
    return {hub_->count, hub_->accepted, hub_->requests, hub_->refused, hub_->left};
  }
  bool drain(double seconds) override {
    asio::post(hub_->io, [this] {
      stop_listening();
      hub_->draining = true;
      const std::vector<Connection*> all(hub_->connections.begin(), hub_->connections.end());
      for (Connection* c : all) {
        if (!hub_->connections.contains(c)) continue;
        c->shared_from_this()->drain();
      }
    });
    std::unique_lock lock(hub_->mutex);
    const bool emptied = hub_->empty.wait_for(lock, seconds_of(seconds), [this] { return hub_->count == 0; });
    lock.unlock();
    if (!emptied) asio::post(hub_->io, [this] { close_all(); });
    return emptied;
  }

 private:
  Status listen_unix(const std::string& path) {
    sockaddr_un probe;
    if (path.size() >= sizeof(probe.sun_path))
      return fail(ErrorCode::kUsage, "--unix {}: a socket's path has at most {} bytes", path,
                  sizeof(probe.sun_path) - 1);
    struct stat about{};
    if (lstat(path.c_str(), &about) == 0) {
      if (!S_ISSOCK(about.st_mode))
        return fail(ErrorCode::kUsage, "--unix {}: something that is not a socket is there; remove it first", path);
      asio::local::stream_protocol::socket other(hub_->io);
      error_code refused;
      other.connect(asio::local::stream_protocol::endpoint(path), refused);
      if (!refused) return fail(ErrorCode::kIo, "--unix {}: another server is listening there", path);
      unlink(path.c_str());  // left by a server that was killed
    }
    error_code e;
    unix_.emplace(hub_->io);
    unix_->open(asio::local::stream_protocol(), e);
    if (!e) {
      // The socket is as good as a key: it belongs to this user alone from the moment it exists.
      const mode_t before = umask(0177);
      unix_->bind(asio::local::stream_protocol::endpoint(path), e);
      umask(before);
    }
    if (!e) unix_->listen(4096, e);
    if (e) return fail(ErrorCode::kIo, "cannot listen on {}: {}", path, e.message());
    unix_path_ = path;
    return {};
  }

  template <class Acceptor>
  void accept(Acceptor& acceptor) {
    auto socket = std::make_shared<typename Acceptor::protocol_type::socket>(hub_->io);
    acceptor.async_accept(*socket, [this, &acceptor, socket](error_code e) {
      if (e == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (e) {  // out of descriptors, most likely: wait until some are free again
        log_at(LogLevel::kWarn, "cannot accept a connection: {}", e.message());
        auto pause = std::make_shared<asio::steady_timer>(hub_->io, std::chrono::milliseconds(100));
        pause->async_wait([this, &acceptor, pause](error_code stopped) {
          if (!stopped && acceptor.is_open()) accept(acceptor);
        });
        return;
      }
      welcome(*socket);
      accept(acceptor);
    });
  }
  static std::string name_of(const asio::ip::tcp::socket& socket) {
    error_code e;
    const auto end = socket.remote_endpoint(e);
    return e ? "unknown" : fmt::format("{}:{}", end.address().to_string(), end.port());
  }
  static std::string name_of(const asio::local::stream_protocol::socket&) { return "unix"; }
  static void prepare(asio::ip::tcp::socket& socket) {
    error_code ignored;
    socket.set_option(asio::ip::tcp::no_delay(true), ignored);  // a token is a packet
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
  }
  static void prepare(asio::local::stream_protocol::socket&) {}
  template <class Any>
  void welcome(Any& socket) {
    ++hub_->accepted;
    if (static_cast<std::size_t>(hub_->count) >= hub_->options.limits.connections) {
      ++hub_->refused;
      error_code ignored;
      socket.non_blocking(true, ignored);
      socket.write_some(
          asio::buffer(std::string_view(
              "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")),
          ignored);
      socket.close(ignored);
      return;
    }
    std::string peer = name_of(socket);
    prepare(socket);
    std::make_shared<Connection>(hub_, Socket(std::move(socket)), std::move(peer))->run();
  }
  void stop_listening() {
    error_code ignored;
    if (tcp_) tcp_->close(ignored);
    if (unix_) unix_->close(ignored);
  }
  void close_all() {
    const std::vector<Connection*> all(hub_->connections.begin(), hub_->connections.end());
    for (Connection* c : all)
      if (hub_->connections.contains(c)) c->shared_from_this()->close();
  }

  std::shared_ptr<Hub> hub_;
  std::optional<asio::ip::tcp::acceptor> tcp_;
  std::optional<asio::local::stream_protocol::acceptor> unix_;
  std::string unix_path_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpOptions& options, Handler handler, Refusal refusal) {
  auto server = std::make_unique<Server>(options, std::move(handler), std::move(refusal));
  HADAL_CHECK_OK(server->listen());
  return server;
}

std::string_view Request::header(std::string_view name) const {
  for (const Header& h : headers)
    if (boost::beast::iequals(h.name, name)) return h.value;
  return {};
}

std::string_view reason_phrase(int status) {
  const auto known = http::obsolete_reason(static_cast<http::status>(status));
  return {known.data(), known.size()};
}

}  // namespace hadal::serve
