// Encoding speed in bytes of text per second of CPU time on one core, and loading.
//   HADAL_GOLDEN      folder with tokenizer/tokenizer.json, the release's; without it the embedded model's tokenizer
//   HADAL_BENCH_TEXT  a text file to encode; without it this repository's own sources and documents
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tokens/splitter.h"
#include "tokens/tokenizer.h"

namespace {

namespace fs = std::filesystem;
using hadal::TokenId;
using hadal::Tokenizer;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string tokenizer_path() {
  const char* golden = std::getenv("HADAL_GOLDEN");
  return golden ? std::string(golden) + "/tokenizer/tokenizer.json" : HADAL_SOURCE_DIR "/nano/weights/tokenizer.json";
}

const Tokenizer& tokenizer() {
  static const auto loaded = Tokenizer::load(tokenizer_path()).value();
  return *loaded;
}

const std::string& natural_text() {
  static const std::string text = [] {
    if (const char* path = std::getenv("HADAL_BENCH_TEXT")) return read_file(path);
    std::string all;
    for (const char* folder : {"src", "tests", "docs", "nano/text"}) {
      if (!fs::exists(fs::path(HADAL_SOURCE_DIR) / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(fs::path(HADAL_SOURCE_DIR) / folder)) {
        if (entry.is_regular_file() && entry.path().extension() != ".safetensors") all += read_file(entry.path());
      }
    }
    return all;
  }();
  return text;
}

std::string repeated(std::string_view unit, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

void encode(benchmark::State& state, const std::string& text) {
  std::vector<TokenId> ids;
  tokenizer().encode(text, ids);
  for (auto _ : state) {
    ids.clear();
    tokenizer().encode(text, ids);
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / static_cast<double>(ids.size());
}

void split(benchmark::State& state) {
  for (auto _ : state) {
    hadal::tokens::Splitter splitter(natural_text());
    std::size_t pieces = 0;
    while (!splitter.next().empty()) ++pieces;
    benchmark::DoNotOptimize(pieces);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(natural_text().size()));
}

void decode(benchmark::State& state) {
  const auto ids = tokenizer().encode(natural_text());
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer().decode(ids).value().size());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(natural_text().size()));
}

void load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::load(tokenizer_path()).value().get());
}

void encode_natural(benchmark::State& state) { encode(state, natural_text()); }

BENCHMARK(encode_natural)->Unit(benchmark::kMillisecond);
BENCHMARK(split)->Unit(benchmark::kMillisecond);
BENCHMARK(decode)->Unit(benchmark::kMillisecond);
BENCHMARK(load)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, hostile_letter_a, repeated("a", 1 << 20))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, hostile_spaces, repeated(" ", 1 << 20))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, hostile_cjk, repeated("中の", 1 << 20))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, hostile_marks, repeated("\u0301", 1 << 20))->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, hostile_markers, repeated("<｜place▁holder▁no▁", 1 << 20))->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
