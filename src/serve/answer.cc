#include "serve/answer.h"

#include <xxhash.h>

#include <algorithm>

#include "chat/templates.h"

namespace hadal::serve {
namespace {

chat::LenientOptions reading(const AnswerOptions& options) {
  chat::LenientOptions out = chat::serving_options(*options.tools, options.thinking);
  out.keep_leading_newlines = options.continues;
  out.stop = options.stop;
  return out;
}

}  // namespace

Answer::Answer(const Tokenizer& tokenizer, AnswerOptions options, std::span<const TokenId> stop_ids)
    : tokenizer_(&tokenizer),
      options_(std::move(options)),
      stop_ids_(stop_ids.begin(), stop_ids.end()),
      decoder_(tokenizer),
      parser_(reading(options_)) {
  for (const TokenId id : options_.before) {
    ids_.push_back(id);
    std::string text;
    if (decoder_.push(id, text)) show(text, tokenizer.is_added(id));
  }
}

AnswerStep Answer::show(std::string_view text, bool is_marker) {
  AnswerStep step;
  if (enough_) return step;
  if (options_.raw) {
    if (text.empty()) return step;
    step.events.push_back({chat::Event::Kind::kContent, std::string(text)});
  } else {
    step.events = parser_.push(text, is_marker);
    // One call is enough when calls must not be parallel: cut what follows its end.
    if (!options_.parallel) {
      auto closed = std::ranges::find(step.events, chat::Event::Kind::kCallClosed, &chat::Event::kind);
      if (closed != step.events.end()) {
        step.events.erase(closed + 1, step.events.end());
        enough_ = one_call_ = true;
      }
    }
    for (const chat::Event& e : step.events) {
      if (e.kind != chat::Event::Kind::kFinished) continue;
      enough_ = true;
      stop_string_ = e.text;
    }
  }
  turn_.add(step.events);
  return step;
}

AnswerStep Answer::add(const JobToken& token) {
  if (enough_) return {};  // sampled before the job heard of it
  const TokenId id = token.sampled.id;
  ids_.push_back(id);
  ++told_;
  if (std::ranges::find(stop_ids_, id) != stop_ids_.end() && !token.spliced) return {};
  std::string text;
  if (!decoder_.push(id, text)) return {};  // an id without text is forbidden in sampling and cannot come
  const bool shown_before = options_.raw || parser_.state_name() == "content";
  AnswerStep step = show(text, tokenizer_->is_added(id));
  if (options_.logprobs && shown_before && (options_.raw || parser_.state_name() == "content") &&
      !tokenizer_->is_added(id)) {
    TokenLogprob entry{std::string(tokenizer_->bytes_of(id)), token.sampled.raw_logprob, {}};
    for (const Sampled& other : token.top)
      entry.top.emplace_back(std::string(tokenizer_->bytes_of(other.id)), other.raw_logprob);
    logprobs_.push_back(entry);
    step.logprobs.push_back(std::move(entry));
  }
  return step;
}

AnswerStep Answer::end(const JobEvent& done) {
  std::string tail;
  decoder_.finish(tail);
  AnswerStep step = show(tail, false);
  const std::string state(parser_.state_name());
  if (!options_.raw && !enough_) {
    std::vector<chat::Event> last = parser_.finish();
    turn_.add(last);
    std::ranges::move(last, std::back_inserter(step.events));
  }
  usage_ = done.usage;
  if (enough_) usage_.generated = std::min(usage_.generated, told_);
  error_ = done.error;
  ended_ = true;
  const bool has_call = std::ranges::any_of(turn_.calls, [](const auto& call) { return call.closed; });
  const bool stopped = done.finish == JobFinish::kStop || (enough_ && done.finish == JobFinish::kCancelled);
  if (!stop_string_.empty())
    finish_ = Finish::kStopString;  // however the job ended: it may have gone on until it heard of it
  else if (done.finish == JobFinish::kError)
    finish_ = Finish::kError;
  else if (stopped || done.finish == JobFinish::kStopString)
    finish_ = has_call ? Finish::kToolCalls : Finish::kStop;
  else if (done.finish == JobFinish::kLength)
    finish_ = Finish::kLength;
  else
    finish_ = Finish::kCancelled;
  if (finish_ == Finish::kStop && done.finish == JobFinish::kStopString && done.stop_index >= 0 &&
      static_cast<std::size_t>(done.stop_index) < options_.stop.size()) {
    finish_ = Finish::kStopString;
    stop_string_ = options_.stop[static_cast<std::size_t>(done.stop_index)];
  }
  // A call that was cut off is not shown, so a client cannot send it back.
  memorable_ = !options_.raw && !options_.continues && turn_.ignored.empty() && stop_string_.empty() &&
               (done.finish == JobFinish::kStop || (done.finish == JobFinish::kLength && state == "content"));
  if (one_call_ && finish_ == Finish::kToolCalls)
    end_after_call();
  else if (enough_ && stop_string_.empty())
    end_after_block();
  return step;
}

// The block of calls has ended, and with it the turn, whatever was sampled until the job heard of it.
void Answer::end_after_block() {
  const auto eos = tokenizer_->find_added(chat::text::kEos);
  memorable_ = eos && !options_.raw && !options_.continues && turn_.ignored.empty();
  if (eos && (ids_.empty() || ids_.back() != *eos)) ids_.push_back(*eos);
}

// What the turn would have been if the model had ended it after the call that was shown: its tokens as far as they say
// that, then the rest of the block and the end of sentence.
void Answer::end_after_call() {
  memorable_ = false;
  const auto dsml = tokenizer_->find_added(chat::text::kDsml), eos = tokenizer_->find_added(chat::text::kEos);
  if (!dsml || !eos) return;
  std::string text;
  StreamDecoder decoder(*tokenizer_);
  std::vector<std::size_t> ends;  // bytes of text after every token
  for (const TokenId id : ids_) {
    if (!decoder.push(id, text)) return;
    ends.push_back(text.size());
  }
  const std::string close = std::string(chat::text::kInvokeClose).substr(1);  // the newline before may be missing
  // The call was known to end at the marker of its closing tag, whose name no token has been taken for.
  const std::string begun = "</" + std::string(chat::text::kDsml);
  if (!text.ends_with(begun)) return;  // a form of call that was only understood
  const std::size_t at = text.size() - begun.size();
  const std::string whole = text.substr(0, at) + close + std::string(chat::text::kCallsClose);
  std::size_t keep = 0;
  while (keep < ids_.size() && std::string_view(whole).starts_with(std::string_view(text).substr(0, ends[keep])))
    ++keep;
  std::vector<TokenId> ids(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(keep));
  const std::string_view rest = std::string_view(whole).substr(keep == 0 ? 0 : ends[keep - 1]);
  for (std::string_view left = rest; !left.empty();) {
    const std::size_t marker = std::min(left.find(chat::text::kDsml), left.size());
    tokenizer_->encode_literal(left.substr(0, marker), ids);
    if (marker < left.size()) ids.push_back(*dsml);
    left.remove_prefix(std::min(left.size(), marker + chat::text::kDsml.size()));
  }
  ids.push_back(*eos);
  ids_ = std::move(ids);
  memorable_ = !options_.raw && !options_.continues;
}

std::string Answer::call_id(int call) const {
  if (!options_.call_prefix.empty()) return fmt::format("{}{}", options_.call_prefix, call);
  const std::string text = options_.call_seed + "/" + std::to_string(call);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("call_{:016x}{:08x}", hash.high64, static_cast<std::uint32_t>(hash.low64));
}

}  // namespace hadal::serve
