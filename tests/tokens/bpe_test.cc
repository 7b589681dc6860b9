#include "tokens/bpe.h"

#include <gtest/gtest.h>

#include <map>

#include "tokens/made_up.h"
#include "tokens/samples.h"
#include "tokens/textbook.h"

namespace hadal::tokens {
namespace {

using test::numbers;

Result<Bpe> build(const nlohmann::json& document) {
  const auto content = HADAL_TRY(parse_tokenizer_json(document.dump(), "test"));
  const auto vocabulary = HADAL_TRY(Vocabulary::build(content, "test"));
  return Bpe::build(vocabulary, "test");
}

std::vector<TokenId> encode(const Bpe& bpe, std::string_view piece) {
  Bpe::Scratch scratch;
  std::vector<TokenId> ids;
  bpe.encode(piece, scratch, ids);
  return ids;
}

nlohmann::json nano_json() { return nlohmann::json::parse(test::read_text(test::nano_json_path())); }
nlohmann::json official_json() { return nlohmann::json::parse(test::read_text(test::official_json_path())); }

// Pieces that stress merging: few letters, repeats, words of the vocabulary cut and joined.
std::string random_piece(test::Random& random, const Tokenizer& tokenizer) {
  std::string piece;
  const std::size_t kind = test::below(random, 4);
  for (std::size_t n = 1 + test::below(random, 12); n > 0; --n) {
    if (kind == 0) {
      piece += static_cast<char>('a' + test::below(random, 3));
    } else if (kind == 1) {
      piece += static_cast<char>(random());
    } else {
      const TokenId id{
          static_cast<std::int32_t>(test::below(random, static_cast<std::size_t>(tokenizer.vocab_size())))};
      const std::string_view bytes = tokenizer.bytes_of(id);
      piece += bytes.substr(0, kind == 2 ? bytes.size() : 1 + test::below(random, bytes.size()));
    }
  }
  return piece;
}

void expect_textbook(const nlohmann::json& document, const Tokenizer& tokenizer, int pieces) {
  const auto bpe = build(document);
  ASSERT_TRUE(bpe) << bpe.error().what;
  const test::TextbookBpe textbook(document);
  test::Random random(11);
  for (int i = 0; i < pieces; ++i) {
    const std::string piece = random_piece(random, tokenizer);
    ASSERT_EQ(numbers(encode(*bpe, piece)), numbers(textbook.merge(piece))) << testing::PrintToString(piece);
  }
}

TEST(Bpe, MergesAsTheTextbookDoes) { expect_textbook(nano_json(), test::nano(), 8000); }

TEST(Bpe, MergesAsTheTextbookDoesWithTheOfficialVocabulary) {
  HADAL_NEEDS_OFFICIAL();
  expect_textbook(official_json(), *test::official(), 4000);
}

TEST(Bpe, EveryTokenMergesToItself) {
  const test::TextbookBpe textbook(nano_json());
  for (std::int32_t id = 0; id < test::nano().vocab_size(); ++id) {
    if (test::nano().is_added(TokenId{id})) continue;
    const std::string bytes(test::nano().bytes_of(TokenId{id}));
    EXPECT_EQ(numbers(textbook.merge(bytes)), std::vector{id}) << bytes;
  }
}

// A vocabulary as training makes it: always the most frequent pair of a random corpus. Pairs whose product exists
// already are left out, as hadal refuses them.
std::vector<std::pair<std::string, std::string>> trained_merges(test::Random& random, std::size_t letters,
                                                                std::size_t count) {
  std::vector<std::vector<std::string>> words(60);
  for (auto& word : words) {
    for (std::size_t n = 4 + test::below(random, 20); n > 0; --n)
      word.emplace_back(1, static_cast<char>('a' + test::below(random, letters)));
  }
  std::vector<std::pair<std::string, std::string>> merges;
  std::map<std::string, int> products;
  while (merges.size() < count) {
    std::map<std::pair<std::string, std::string>, int> pairs;
    for (const auto& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (!products.contains(word[i] + word[i + 1])) ++pairs[{word[i], word[i + 1]}];
      }
    }
    if (pairs.empty()) break;
    const auto best = std::ranges::max_element(pairs, {}, [](const auto& p) { return p.second; })->first;
    merges.push_back(best);
    products[best.first + best.second] = 1;
    for (auto& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != best.first || word[i + 1] != best.second) continue;
        word[i] += word[i + 1];
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i + 1));
      }
    }
  }
  return merges;
}

TEST(Bpe, MergesAsTheTextbookDoesWithRandomVocabularies) {
  test::Random random(5);
  int accepted = 0;
  for (int round = 0; round < 40; ++round) {
    const std::size_t letters = 1 + test::below(random, 4);
    const auto document = test::made_up_json(trained_merges(random, letters, 40));
    const auto bpe = build(document);
    if (!bpe) {
      // Leaving out a second merge of one product can make a later token unreachable: that is what is refused.
      EXPECT_NE(bpe.error().what.find("encodes to itself"), std::string::npos) << bpe.error().what;
      continue;
    }
    ++accepted;
    const test::TextbookBpe textbook(document);
    for (int i = 0; i < 300; ++i) {
      std::string piece;
      for (std::size_t n = 1 + test::below(random, 60); n > 0; --n)
        piece += static_cast<char>('a' + test::below(random, letters + 1));
      ASSERT_EQ(numbers(encode(*bpe, piece)), numbers(textbook.merge(piece))) << piece << "\n"
                                                                              << document.at("model").at("merges");
    }
  }
  EXPECT_GT(accepted, 20);
}

TEST(Bpe, StepsBackWhereTheLongestMatchLeadsNowhere) {
  // "ab" is made before "bc" and "abcd" from "ab" and "cd": in "abce" the long way fails twice.
  const auto document = test::made_up_json({{"b", "c"}, {"a", "b"}, {"c", "d"}, {"ab", "cd"}, {"bc", "e"}});
  EXPECT_NE(test::refusal(document).find("'model.merges[3]' makes 'abcd'"), std::string::npos)
      << test::refusal(document);
  const auto good = test::made_up_json({{"a", "b"}, {"c", "d"}, {"ab", "cd"}, {"b", "c"}, {"bc", "e"}});
  const auto bpe = build(good);
  ASSERT_TRUE(bpe) << bpe.error().what;
  const test::TextbookBpe textbook(good);
  for (std::string piece : {"abce", "abcd", "bce", "abcbce", "abcdbcde", "aabbccddee"}) {
    EXPECT_EQ(numbers(encode(*bpe, piece)), numbers(textbook.merge(piece))) << piece;
  }
}

// Work per byte must not grow with the length of a piece.
void expect_linear(const nlohmann::json& document, std::size_t piece_bytes) {
  const auto bpe = build(document);
  ASSERT_TRUE(bpe) << bpe.error().what;
  for (std::string unit :
       {"a", " ", "中的", "\u0301", "ab", "aab", "abcabd", "\xff", "eeeeeeeeeeeeeeeeeeeeet", "=-", "的的一"}) {
    std::string piece;
    while (piece.size() < piece_bytes) piece += unit;
    Bpe::Scratch scratch;
    std::vector<TokenId> ids;
    bpe->encode(piece, scratch, ids);
    EXPECT_LE(scratch.attempts, 6 * piece.size()) << unit;
    EXPECT_LE(scratch.pair_lookups, 40 * piece.size()) << unit;
    std::size_t bytes = 0;
    for (TokenId id : ids)
      bytes += static_cast<std::size_t>(to_int(id)) < document.at("model").at("vocab").size() ? 1 : 0;
    EXPECT_EQ(bytes, ids.size());
  }
}

TEST(Bpe, WorksInLinearTime) { expect_linear(nano_json(), 1 << 17); }

TEST(Bpe, WorksInLinearTimeWithTheOfficialVocabulary) {
  HADAL_NEEDS_OFFICIAL();
  expect_linear(official_json(), 1 << 20);
}

TEST(Bpe, WorksInLinearTimeWithAVocabularyOfRepeats) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (std::size_t n = 1; n <= 256; n *= 2) merges.emplace_back(std::string(n, 'a'), std::string(n, 'a'));
  expect_linear(test::made_up_json(merges), 1 << 17);
}

}  // namespace
}  // namespace hadal::tokens
