#include "cli/common_options.h"

#include "cli/options.h"

namespace hadal::cli {

void model_option(Command& c, std::string& value) {
  c.path("--model", value, "checkpoint directory (default: the embedded model)").takes("DIR");
}

void numerics_option(Command& c, std::string& value) {
  c.choice("--numerics", value,
           "arithmetic: reference is double precision and slow, exact is float32, trained also rounds the cache as in "
           "training",
           {"reference", "exact", "trained"})
      .show_default();
}

void format_option(Command& c, std::string& value) {
  c.choice("--format", value, "generation of the chat format (default: detected)", {"preview", "0731"});
}

void threads_option(Command& c, int& value) {
  c.number("--threads", value, "worker threads (default: every core this process may use)").among(0, 4096);
}

void expert_memory_option(Command& c, std::int64_t& value) {
  const auto read = [](const std::string& text) {
    return text == "auto" ? std::optional(kExpertsAuto) : text == "all" ? std::optional(kExpertsAll) : parse_size(text);
  };
  c.bytes_or_word("--expert-memory", value,
                  "memory for routed experts: a size like 12G, the rest is read from disk when needed; all; or auto, "
                  "which is all of them if they fit and else what is free",
                  read, "a size (bytes, or with K, M, G or T), 'all' or 'auto'")
      .default_text("auto");
}

void repack_cache_option(Command& c, std::string& value) {
  c.path("--repack-cache", value,
         "keep the packed dense weights in this directory: later starts map them instead of packing again")
      .takes("DIR");
}

void json_option(Command& c, bool& value) {
  c.flag("--json", value, "print one JSON document on stdout and nothing else");
}

void plot_option(Command& c, std::vector<std::string>& values, const std::string& what) {
  c.texts("--plot", values, "draw " + what + " into this file, .svg or .png; may be given twice").takes("FILE");
}

}  // namespace hadal::cli
