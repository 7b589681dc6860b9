#include <memory>

#include "cli/common_options.h"
#include "cli/options.h"

namespace hadal::cli {
namespace {

void define_inspect(Command root) {
  auto shared = std::make_shared<InspectOptions>();
  InspectOptions& o = *shared;
  Command c = root.add("inspect", "what a checkpoint directory holds, and whether it is complete",
                       [shared] { return run_inspect(*shared); });
  c.path("directory", o.directory, "checkpoint directory").required().takes("DIR");
  json_option(c, o.json);
  c.flag("--verify", o.verify, "read every tensor: scales, ranges, checksums");
  c.flag("--tensors", o.tensors, "list every tensor");
}

void define_logits(Command root) {
  auto shared = std::make_shared<LogitsOptions>();
  LogitsOptions& o = *shared;
  Command c =
      root.add("logits", "logits of given token ids, for conformance tests", [shared] { return run_logits(*shared); });
  model_option(c, o.model);
  c.path("--ids", o.ids, "JSON list of token ids").required();
  c.path("--out", o.out, "safetensors file to write").required();
  numerics_option(c, o.numerics);
  c.path("--rope-table", o.rope_table, "safetensors with rope.inv_freq_plain and rope.inv_freq_compressed");
  c.numbers("--chunks", o.chunks, "feed pieces of these many tokens, as in 1,7,64; the list is repeated", 1, INT64_MAX)
      .takes("LIST");
  threads_option(c, o.threads);
  expert_memory_option(c, o.expert_memory);
  repack_cache_option(c, o.repack_cache);
  c.flag("--round-inputs", o.round_inputs, "round inputs of FP8 and FP4 matrices to FP8 (golden regime full)");
  c.flag("--no-round-cache", o.no_round_cache, "do not round cache rows and index keys (golden regime f32)");
  c.flag("--mtp", o.mtp, "also write the logits of the MTP block");
}

void define_tokenize(Command root) {
  auto shared = std::make_shared<TokenizeOptions>();
  TokenizeOptions& o = *shared;
  Command c =
      root.add("tokenize", "strings to token ids and back, as JSON lines", [shared] { return run_tokenize(*shared); });
  model_option(c, o.model);
  c.flag("--literal", o.literal, "recognise no special tokens");
  c.flag("--decode", o.decode, "lists of ids in, text out as a streaming decoder emits it");
}

void define_chat(Command root) {
  Command c = root.add("chat", "the chat codec: messages to tokens' text and back");
  c.add("encode", "messages to prompt text, as JSON lines", [] { return run_chat_encode({}); });
  auto decode = std::make_shared<ChatOptions>();
  c.add("decode", "completion text to a message, as JSON lines", [decode] {
     return run_chat_decode(*decode);
   }).flag("--lenient", decode->lenient, "the forgiving parser that serves users");
}

}  // namespace

void define_check_commands(Command root) {
  define_inspect(root);
  define_logits(root);
  define_tokenize(root);
  define_chat(root);
}

void define_completion_command(Command root) {
  auto shell = std::make_shared<std::string>();
  root.add("completion", "print a shell completion script", [shell] { return run_completion(*shell); })
      .choice("shell", *shell, "which shell", {"bash"})
      .required();
}

}  // namespace hadal::cli
