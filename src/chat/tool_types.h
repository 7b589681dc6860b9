// What the declared tools say about their parameters: enough to repair a call without guessing.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/messages.h"
#include "chat/python_json.h"

namespace hadal::chat {

// A set of JSON types, as bits.
enum JsonTypes : unsigned {
  kNoType = 0,
  kNullType = 1,
  kBooleanType = 2,
  kIntegerType = 4,
  kNumberType = 8,  // numbers that are not integers
  kStringType = 16,
  kArrayType = 32,
  kObjectType = 64,
  kAnyType = 127,
};

unsigned type_of(const JsonValue& value);  // one bit

class ToolTypes {
 public:
  struct Tool {
    std::map<std::string, unsigned, std::less<>> parameters;  // name -> the types its schema allows
    std::vector<std::string> required;
    bool has_schema = false;  // false: nothing is known, every key and type may be right
  };

  // Reads the `name` and `parameters` of each schema. kBadInput (`malformed_json`) if one is not JSON.
  static Result<ToolTypes> read(std::span<const ToolSchema> schemas);

  const Tool* find(std::string_view name) const;
  bool empty() const { return tools_.empty(); }

 private:
  std::map<std::string, Tool, std::less<>> tools_;
};

// The types a property's schema allows; kAnyType when it does not say, or says it in a way not read here ($ref).
unsigned allowed_types(const JsonValue& property_schema);

}  // namespace hadal::chat
