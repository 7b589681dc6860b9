// The routing recorded in tests/golden/routing is what the embedded model does.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "cache/sequence.h"
#include "support/tiny_checkpoint.h"
#include "weights/checkpoint.h"
#include "weights/expert_store.h"

namespace hadal {
namespace {

// Routing of `tokens` decoded tokens after a short prompt, the most likely one each time; the prompt is not recorded.
std::string record(int tokens) {
  auto checkpoint = Checkpoint::open(HADAL_SOURCE_DIR "/nano/weights");
  ExpertPlacement placement;
  placement.slots = 8;
  ModelOptions options;
  options.threads = 1;
  auto model = Model::create(load_weights(*checkpoint, placement).value(), options).value();
  ExpertStore& store = *model->weights().expert_store();
  auto sequence = Sequence::create(model).value();
  std::vector<float> logits(static_cast<std::size_t>(model->config().vocab_size));
  FeedOutputs outputs;
  outputs.last_logits = logits.data();
  std::ostringstream out;
  out << model->config().num_hidden_layers << ' ' << store.files().experts() << '\n';
  std::uint32_t draw = 1;
  for (int i = 0; i < tokens; ++i) {
    // A quarter of the tokens are drawn by a generator written out here, so that the text does not run in circles.
    auto id = static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    draw = draw * 1664525u + 1013904223u;
    if (draw >> 30 == 0 || i == 0) id = static_cast<std::int32_t>((draw >> 8) % 1000);
    std::string line;
    store.observe([&](std::int32_t layer, std::span<const ExpertWant> wants) {
      for (const ExpertWant& w : wants)
        line += (line.empty() ? "" : " ") + std::to_string(store.files().key(layer, w.expert));
    });
    const TokenId token{id};
    if (!sequence.feed(std::span(&token, 1), outputs)) return "failed";
    out << line << '\n';
  }
  return out.str();
}

TEST(RoutingRecording, IsWhatTheEmbeddedModelDoes) {
  const std::string path = HADAL_SOURCE_DIR "/tests/golden/routing/nano.txt";
  const std::string got = record(800);
  if (std::getenv("HADAL_RECORD_ROUTING")) std::ofstream(path) << got;
  std::ifstream in(path);
  std::stringstream want;
  want << in.rdbuf();
  EXPECT_TRUE(got == want.str());  // not EXPECT_EQ: it would print both
}

}  // namespace
}  // namespace hadal
