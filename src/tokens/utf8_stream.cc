#include "tokens/utf8_stream.h"

#include <algorithm>

#include "tokens/utf8.h"

namespace hadal {

using tokens::Utf8;
using tokens::utf8_step;
using tokens::Utf8Step;

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

Utf8Step step_at(std::string_view bytes) {
  return utf8_step(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

}  // namespace

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  // A pending character meets the new bytes in a small buffer: four bytes always decide it.
  while (pending_count_ > 0 && !bytes.empty()) {
    std::array<char, 4> joint{};
    std::copy_n(pending_.begin(), pending_count_, joint.begin());
    const std::size_t taken = std::min<std::size_t>(bytes.size(), joint.size() - pending_count_);
    std::copy_n(bytes.begin(), taken, joint.begin() + pending_count_);
    const std::string_view view(joint.data(), pending_count_ + taken);
    const Utf8Step step = step_at(view);
    if (step.kind == Utf8::kTruncated) {
      hold(view.substr(0, step.length));
      return;
    }
    // An ill-formed subpart ends before the byte that broke it, so it holds the pending bytes and maybe some new ones.
    out.append(step.kind == Utf8::kWellFormed ? view.substr(0, step.length) : kReplacement);
    bytes.remove_prefix(step.length - pending_count_);
    pending_count_ = 0;
  }

  std::size_t from = 0;  // start of text not yet copied
  std::size_t i = 0;
  while (i < bytes.size()) {
    if (static_cast<unsigned char>(bytes[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Step step = step_at(bytes.substr(i));
    if (step.kind == Utf8::kWellFormed) {
      i += step.length;
      continue;
    }
    out.append(bytes.substr(from, i - from));
    if (step.kind == Utf8::kTruncated) {
      hold(bytes.substr(i));
      return;
    }
    out.append(kReplacement);
    i += step.length;
    from = i;
  }
  out.append(bytes.substr(from));
}

void Utf8Stream::hold(std::string_view truncated) {
  pending_count_ = static_cast<std::uint8_t>(std::min(truncated.size(), pending_.size()));  // never four: that is whole
  std::copy_n(truncated.begin(), pending_count_, pending_.begin());
}

void Utf8Stream::finish(std::string& out) {
  if (pending_count_ > 0) out.append(kReplacement);
  pending_count_ = 0;
}

}  // namespace hadal
