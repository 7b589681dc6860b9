#include "chat/tool_types.h"

#include <array>
#include <utility>

namespace hadal::chat {
namespace {

using Kind = JsonValue::Kind;

unsigned named_type(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, unsigned>, 7> kNames = {{{"null", kNullType},
                                                                            {"boolean", kBooleanType},
                                                                            {"integer", kIntegerType},
                                                                            {"number", kNumberType | kIntegerType},
                                                                            {"string", kStringType},
                                                                            {"array", kArrayType},
                                                                            {"object", kObjectType}}};
  for (auto [known, bits] : kNames) {
    if (name == known) return bits;
  }
  return kAnyType;
}

}  // namespace

unsigned type_of(const JsonValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return kNullType;
    case Kind::kFalse:
    case Kind::kTrue:
      return kBooleanType;
    case Kind::kNumber:
      return value.text.find_first_of(".eEnN") == std::string::npos ? kIntegerType : kNumberType;
    case Kind::kString:
      return kStringType;
    case Kind::kArray:
      return kArrayType;
    case Kind::kObject:
      return kObjectType;
  }
  return kNoType;
}

unsigned allowed_types(const JsonValue& schema) {
  if (!schema.is(Kind::kObject) || schema.find("$ref")) return kAnyType;
  unsigned types = kAnyType;
  if (const JsonValue* type = schema.find("type")) {
    unsigned named = kNoType;
    if (type->is(Kind::kString)) named = named_type(type->text);
    for (const JsonValue& item : type->items) named |= item.is(Kind::kString) ? named_type(item.text) : kAnyType;
    types &= named == kNoType ? kAnyType : named;
  }
  if (const JsonValue* values = schema.find("enum"); values && !values->items.empty()) {
    unsigned listed = kNoType;
    for (const JsonValue& value : values->items) listed |= type_of(value);
    types &= listed;
  }
  if (const JsonValue* value = schema.find("const")) types &= type_of(*value);
  for (std::string_view key : {"anyOf", "oneOf"}) {
    const JsonValue* choices = schema.find(key);
    if (!choices || choices->items.empty()) continue;
    unsigned either = kNoType;
    for (const JsonValue& choice : choices->items) either |= allowed_types(choice);
    types &= either;
  }
  if (const JsonValue* nullable = schema.find("nullable"); nullable && nullable->is(Kind::kTrue)) types |= kNullType;
  return types == kNoType ? kAnyType : types;  // a schema that contradicts itself says nothing
}

Result<ToolTypes> ToolTypes::read(std::span<const ToolSchema> schemas) {
  ToolTypes out;
  for (const ToolSchema& schema : schemas) {
    auto function = parse_json(schema.function_json);
    if (!function) return fail(ErrorCode::kBadInput, "malformed_json: a tool's schema: {}", function.error().what);
    const JsonValue* name = function->find("name");
    if (!name || !name->is(Kind::kString)) continue;  // cannot be called
    Tool& tool = out.tools_[name->text];
    const JsonValue* parameters = function->find("parameters");
    const JsonValue* properties = parameters ? parameters->find("properties") : nullptr;
    if (!properties || !properties->is(Kind::kObject)) continue;
    tool.has_schema = true;
    for (const JsonMember& property : properties->members)
      tool.parameters[property.key] = allowed_types(property.value);
    if (const JsonValue* required = parameters->find("required")) {
      for (const JsonValue& key : required->items) {
        if (key.is(Kind::kString)) tool.required.push_back(key.text);
      }
    }
  }
  return out;
}

const ToolTypes::Tool* ToolTypes::find(std::string_view name) const {
  auto found = tools_.find(name);
  return found == tools_.end() ? nullptr : &found->second;
}

}  // namespace hadal::chat
