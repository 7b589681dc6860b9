#include "chat/python_json.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace hadal::chat {
namespace {

struct Spelling {
  const char* given;
  const char* python;
};

// What json.dumps(json.loads(given), ensure_ascii=False) prints.
TEST(PythonJson, SpellsLikePython) {
  for (auto [given, python] : std::vector<Spelling>{
           {"1.10", "1.1"},
           {"1E3", "1000.0"},
           {"0.00001", "1e-05"},
           {"0.0001", "0.0001"},
           {"100000000000000000000.0", "1e+20"},
           {"1e16", "1e+16"},
           {"1e15", "1000000000000000.0"},
           {"9999999999999998.0", "9999999999999998.0"},
           {"123456789012345678.0", "1.2345678901234568e+17"},
           {"1e22", "1e+22"},
           {"-1e-9", "-1e-09"},
           {"1e-100", "1e-100"},
           {"5e-324", "5e-324"},
           {"2e-324", "0.0"},
           {"-1e-400", "-0.0"},
           {"1e400", "Infinity"},
           {"-1e400", "-Infinity"},
           {"0e999999999999999999999", "0.0"},
           {"1e-999999999999999999999", "0.0"},
           {"1.7976931348623157e308", "1.7976931348623157e+308"},
           {"1.7976931348623159e308", "Infinity"},
           {"9007199254740993.0", "9007199254740992.0"},
           {"0.1", "0.1"},
           {"-0.0", "-0.0"},
           {"-0", "0"},
           {"0", "0"},
           {"12345678901234567890123456789", "12345678901234567890123456789"},
           {"NaN", "NaN"},
           {"Infinity", "Infinity"},
           {"-Infinity", "-Infinity"},
           {" [ ] ", "[]"},
           {"{ }", "{}"},
           {"[1,2,[3]]", "[1, 2, [3]]"},
           {"{\"b\":1,\"a\":2}", "{\"b\": 1, \"a\": 2}"},
           {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}"},
           {"{\"\":null}", "{\"\": null}"},
           {"\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\\/\"", "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/\""},
           {"\"\\u007f\\u2028\\u00e9\"", "\"\x7f\u2028é\""},
           {"\"\\ud83d\\ude42\"", "\"🙂\""},
           {"\"\\uD83D\\uDE42\"", "\"🙂\""},
           {"[true,false,null]", "[true, false, null]"},
       }) {
    auto spelled = respell_json(given);
    ASSERT_TRUE(spelled) << given << ": " << spelled.error().what;
    EXPECT_EQ(*spelled, python) << given;
  }
}

TEST(PythonJson, LoneSurrogatesBecomeReplacementCharacters) {
  EXPECT_EQ(respell_json("\"\\ud83d\"").value(), "\"\uFFFD\"");
  EXPECT_EQ(respell_json("\"\\ude42x\"").value(), "\"\uFFFDx\"");
  EXPECT_EQ(respell_json("\"\\ud83d\\ud83d\\ude42\"").value(), "\"\uFFFD🙂\"");
  EXPECT_EQ(respell_json("\"\\ud83d\\n\"").value(), "\"\uFFFD\\n\"");
}

TEST(PythonJson, RefusesWhatPythonRefuses) {
  for (std::string_view text : {"",
                                " ",
                                "[",
                                "]",
                                "{",
                                "[1",
                                "[1,]",
                                "[,1]",
                                "{\"a\"}",
                                "{\"a\":}",
                                "{\"a\":1,}",
                                "{a:1}",
                                "{1:2}",
                                "'a'",
                                "\"a",
                                "\"\\x\"",
                                "\"\\u12\"",
                                "\"\\u12g4\"",
                                "\"\\u+123\"",
                                "\"\\ud83d\\u12\"",
                                "\"\n\"",
                                "\"\t\"",
                                "01",
                                "+1",
                                "-",
                                ".5",
                                "1.",
                                "1.e5",
                                "1e",
                                "1e+",
                                "-NaN",
                                "+Infinity",
                                "nan",
                                "True",
                                "nul",
                                "1 2",
                                "[1]x",
                                "\xEF\xBB\xBF[]",
                                "\"\xFF\"",
                                "\"\xC3\"",
                                "\"\xED\xA0\x80\"",
                                "\"\xC0\x80\"",
                                "tru",
                                "\\",
                                "\"\\"}) {
    EXPECT_FALSE(parse_json(text)) << text;
  }
}

TEST(PythonJson, NestingHasALimit) {
  auto nested = [](int depth, char open, char close) { return std::string(depth, open) + std::string(depth, close); };
  EXPECT_TRUE(parse_json(nested(kMaxJsonDepth, '[', ']')));
  EXPECT_FALSE(parse_json(nested(kMaxJsonDepth + 1, '[', ']')));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_FALSE(parse_json(objects));
}

TEST(PythonJson, ErrorsNameThePlace) {
  auto result = parse_json("{\"a\": 1, b}");
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().what.find("byte 9"), std::string::npos) << result.error().what;
}

TEST(PythonJson, ValuesKnowTheirPlaceInTheSource) {
  std::string source = R"( {"a" : [1.50, {"b":"x"}] , "c": -0 } )";
  auto value = parse_json(source);
  ASSERT_TRUE(value);
  const JsonValue* a = value->find("a");
  EXPECT_EQ(source.substr(a->begin, a->end - a->begin), R"([1.50, {"b":"x"}])");
  EXPECT_EQ(source.substr(value->begin, value->end - value->begin), R"({"a" : [1.50, {"b":"x"}] , "c": -0 })");
}

// A random JSON text with free spelling: odd blanks, escapes, number forms, repeated keys.
class RandomJson {
 public:
  explicit RandomJson(unsigned seed) : random_(seed) {}

  std::string value(int depth = 0) {
    switch (pick(depth > 4 ? 5 : 8)) {
      case 0:
        return pick(2) ? "true" : "null";
      case 1:
        return integer();
      case 2:
      case 3:
        return real();
      case 4:
        return string();
      case 5:
      case 6:
        return object(depth);
      default:
        return array(depth);
    }
  }

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  std::string blank() { return std::string(pick(3) == 0 ? pick(3) : 0, " \n\t"[pick(3)]); }
  std::string digits(unsigned most) {
    std::string out;
    for (unsigned n = 1 + pick(most); n > 0; --n) out += static_cast<char>('0' + pick(10));
    return out;
  }
  std::string integer() {
    std::string magnitude = digits(30);
    magnitude.erase(0, std::min(magnitude.find_first_not_of('0'), magnitude.size() - 1));
    return (pick(2) ? "-" : "") + magnitude;
  }
  std::string real() {
    if (pick(3) == 0) {  // any double at all, written exactly enough
      std::uint64_t bits = random_();
      double d;
      std::memcpy(&d, &bits, sizeof d);
      if (d == d && d - d == 0) {
        char text[40];
        std::snprintf(text, sizeof text, "%.*e", 8 + static_cast<int>(pick(12)), d);
        return text;
      }
    }
    std::string out = integer() + "." + digits(20);
    if (pick(2)) out += std::string(pick(2) ? "e" : "E") + (pick(3) == 0 ? "+" : pick(2) ? "-" : "") + digits(3);
    return out;
  }
  std::string string() {
    static const std::vector<std::string> kPieces = {"a",
                                                     "é",
                                                     "漢",
                                                     "🙂",
                                                     "\\n",
                                                     "\\\"",
                                                     "\\\\",
                                                     "\\/",
                                                     "\\u00e9",
                                                     "\\u0001",
                                                     "\\ud83d\\ude42",
                                                     "\\u2028",
                                                     "\x7f",
                                                     " ",
                                                     "<｜DSML｜",
                                                     "\\b\\f\\r\\t",
                                                     "\u2028"};
    std::string out = "\"";
    for (unsigned n = pick(6); n > 0; --n) out += kPieces[pick(kPieces.size())];
    return out + "\"";
  }
  std::string array(int depth) {
    std::string out = "[" + blank();
    for (unsigned n = pick(4), i = 0; i < n; ++i) out += (i ? "," : "") + blank() + value(depth + 1) + blank();
    return out + "]";
  }
  std::string object(int depth) {
    std::string out = "{" + blank();
    for (unsigned n = pick(4), i = 0; i < n; ++i) {
      std::string key = pick(3) == 0 ? "\"k\"" : string();
      out += (i ? "," : "") + blank() + key + blank() + ":" + blank() + value(depth + 1) + blank();
    }
    return out + "}";
  }

  std::mt19937_64 random_;
};

TEST(PythonJson, RespellingIsIdempotent) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::string text = RandomJson(seed).value();
    auto once = respell_json(text);
    ASSERT_TRUE(once) << text;
    EXPECT_EQ(respell_json(*once).value(), *once) << text;
  }
}

TEST(PythonJson, AgreesWithPythonOnRandomTexts) {
  if (std::system("/usr/bin/python3 -c 'import json' >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "/usr/bin/python3 is not here";
  namespace fs = std::filesystem;
  fs::path folder = fs::path(testing::TempDir()) / ("python_json_" + std::to_string(getpid()));
  fs::create_directories(folder);
  std::vector<std::string> texts;
  for (unsigned seed = 1000; seed < 4000; ++seed) texts.push_back(RandomJson(seed).value());
  {
    std::ofstream in(folder / "in");
    for (const std::string& text : texts) in << text << '\0';
  }
  {
    std::ofstream script(folder / "respell.py");
    script << "import json, sys\n"
              "texts = open(sys.argv[1], newline='', encoding='utf-8').read().split('\\0')[:-1]\n"
              "out = open(sys.argv[2], 'w', newline='', encoding='utf-8')\n"
              "for t in texts: out.write(json.dumps(json.loads(t), ensure_ascii=False) + '\\0')\n";
  }
  std::string command = "/usr/bin/python3 " + (folder / "respell.py").string() + " " + (folder / "in").string() + " " +
                        (folder / "out").string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream out(folder / "out");
  for (const std::string& text : texts) {
    std::string expected;
    ASSERT_TRUE(std::getline(out, expected, '\0'));
    ASSERT_EQ(respell_json(text).value_or("refused"), expected) << text;
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace hadal::chat
