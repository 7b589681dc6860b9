#include "sandbox/edge/client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

namespace hadal::sandbox {
namespace {

constexpr std::size_t kMostLine = 16 << 10;
constexpr std::int64_t kMostBody = std::int64_t{256} << 20;  // twice the largest answer of the edge

std::string lower(std::string s) {
  for (char& c : s) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return s;
}

}  // namespace

Status EdgeClient::connect() {
  buffer_.clear();
  socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path)
    return fail(ErrorCode::kUsage, "{} is too long for a socket's path", path_);
  std::copy(path_.begin(), path_.end(), address.sun_path);
  if (!socket_ || ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const int e = errno;
    socket_.reset();
    return fail(ErrorCode::kNotFound, "no edge listens at {} ({}); start one with 'hadal sandbox up'", path_,
                std::strerror(e));
  }
  return {};
}

Status EdgeClient::send(const std::string& method, const std::string& target, const std::string& body) {
  const std::string text =
      fmt::format("{} {} HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\n\r\n", method, target, body.size()) + body;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!socket_) HADAL_CHECK_OK(connect());
    std::size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t n = ::send(socket_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<std::size_t>(n);
    }
    if (sent == text.size()) return {};
    socket_.reset();  // it was kept open and the edge has closed it: once more, nothing was understood there
    if (sent > 0) break;
  }
  return fail(ErrorCode::kIo, "the edge at {} hung up", path_);
}

Result<bool> EdgeClient::more() {
  char piece[65536];
  ssize_t n;
  do n = ::recv(socket_.get(), piece, sizeof piece, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail(ErrorCode::kIo, "the connection to the edge broke: {}", std::strerror(errno));
  buffer_.append(piece, static_cast<std::size_t>(n));
  return n > 0;
}

Result<std::string> EdgeClient::line() {
  for (;;) {
    const auto end = buffer_.find('\n');
    if (end != std::string::npos) {
      std::string text = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (!text.empty() && text.back() == '\r') text.pop_back();
      return text;
    }
    if (buffer_.size() > kMostLine || !HADAL_TRY(more())) return fail(ErrorCode::kIo, "the edge's answer breaks off");
  }
}

Result<int> EdgeClient::head(std::int64_t& length, bool& chunked) {
  const std::string first = HADAL_TRY(line());
  int status = 0;
  if (first.size() > 12) std::from_chars(first.data() + 9, first.data() + 12, status);
  length = 0;
  chunked = false;
  for (;;) {
    const std::string text = lower(HADAL_TRY(line()));
    if (text.empty()) break;
    if (text.starts_with("content-length:")) {
      const char* at = text.c_str() + 15;
      while (*at == ' ') ++at;
      std::from_chars(at, text.c_str() + text.size(), length);
    }
    if (text.starts_with("transfer-encoding:") && text.find("chunked") != std::string::npos) chunked = true;
  }
  if (length < 0 || length > kMostBody) return fail(ErrorCode::kIo, "the edge's answer is too large");
  return status;
}

Result<ClientAnswer> EdgeClient::call(const std::string& method, const std::string& target, const std::string& body) {
  HADAL_CHECK_OK(send(method, target, body));
  ClientAnswer a;
  std::int64_t length = 0;
  bool chunked = false;
  a.status = HADAL_TRY(head(length, chunked));
  if (chunked) return fail(ErrorCode::kInternal, "the edge answered with a stream where none was asked for");
  while (static_cast<std::int64_t>(buffer_.size()) < length)
    if (!HADAL_TRY(more())) return fail(ErrorCode::kIo, "the edge's answer breaks off");
  a.body = buffer_.substr(0, static_cast<std::size_t>(length));
  buffer_.erase(0, static_cast<std::size_t>(length));
  return a;
}

namespace {

std::unexpected<Error> refusal(int status, const std::string& body) {
  const auto j = nlohmann::json::parse(body, nullptr, false);
  std::string sentence = fmt::format("the edge answered {}", status);
  if (j.is_object() && j.contains("error") && j["error"].is_object() && j["error"].contains("message") &&
      j["error"]["message"].is_string())
    sentence = j["error"]["message"].get<std::string>();
  const ErrorCode code = status == 404 || status == 410 ? ErrorCode::kNotFound
                         : status == 400                ? ErrorCode::kUsage
                         : status == 503                ? ErrorCode::kBusy
                                                        : ErrorCode::kIo;
  return fail(code, "{}", sentence);
}

}  // namespace

Result<std::string> EdgeClient::ask(const std::string& method, const std::string& target, const std::string& body) {
  ClientAnswer a = HADAL_TRY(call(method, target, body));
  if (a.status / 100 == 2) return std::move(a.body);
  return refusal(a.status, a.body);
}

Status EdgeClient::events(const std::string& method, const std::string& target, const std::string& body,
                          const std::function<bool(const std::string&, const std::string&)>& event) {
  socket_.reset();  // a stream may be left in the middle, so it has a connection of its own
  HADAL_CHECK_OK(send(method, target, body));
  std::int64_t length = 0;
  bool chunked = false;
  const int status = HADAL_TRY(head(length, chunked));
  if (!chunked) {
    while (static_cast<std::int64_t>(buffer_.size()) < length && HADAL_TRY(more())) continue;
    return refusal(status, buffer_);
  }
  std::string text, name;
  for (;;) {
    const std::string size_line = HADAL_TRY(line());
    std::size_t size = 0;
    std::from_chars(size_line.data(), size_line.data() + size_line.size(), size, 16);
    if (size == 0) break;
    if (size > static_cast<std::size_t>(kMostBody)) return fail(ErrorCode::kIo, "the edge's answer is too large");
    while (buffer_.size() < size + 2)
      if (!HADAL_TRY(more())) return fail(ErrorCode::kIo, "the edge's answer breaks off");
    text.append(buffer_, 0, size);
    buffer_.erase(0, size + 2);
    for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
      const std::string row = text.substr(0, end);
      text.erase(0, end + 1);
      if (row.starts_with("event: ")) name = row.substr(7);
      if (row.starts_with("data: ") && !event(name, row.substr(6))) {
        socket_.reset();
        return {};
      }
    }
  }
  socket_.reset();
  return {};
}

}  // namespace hadal::sandbox
