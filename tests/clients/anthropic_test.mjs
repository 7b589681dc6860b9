// npm's `@anthropic-ai/sdk` against /v1/messages, /v1/messages/count_tokens and /v1/models.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { description, expected, parameters, request, url } from "./support.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const model = "nano";
const tools = [{ name: "move_lander", description, input_schema: parameters }];
const off = { type: "disabled" };

test("models", async () => {
  const list = await client.models.list();
  assert.equal(list.data[0].id, model);
});

test("a message, whole and streamed", async () => {
  const ask = { model, max_tokens: 60, thinking: off, messages: [{ role: "user", content: "Hello." }] };
  const whole = await client.messages.create(ask);
  assert.equal(whole.stop_reason, "end_turn");
  assert.equal(whole.content[0].type, "text");
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.equal(streamed.content[0].text, whole.content[0].text);
  assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
});

test("thinking comes in blocks with a signature, which may come back", async () => {
  const messages = [{ role: "user", content: "Hello." }];
  const ask = { model, max_tokens: 2000, thinking: { type: "enabled", budget_tokens: 1024 }, messages };
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.equal(streamed.content[0].type, "thinking");
  assert.ok(streamed.content[0].thinking.length > 0);
  assert.ok(streamed.content[0].signature.length > 0);
  const second = await client.messages.create({
    ...ask,
    messages: [...messages, { role: "assistant", content: streamed.content }, { role: "user", content: "Hello." }],
  });
  assert.ok(second.content.length > 0);
});

test("a thinking budget ends the thinking", async () => {
  const answer = await client.messages.create({
    model, max_tokens: 200, thinking: { type: "enabled", budget_tokens: 3 }, messages: [{ role: "user", content: "Hello." }],
  });
  assert.ok(answer.content[0].thinking.length < 40);
});

test("tools: called, streamed, answered", async () => {
  const messages = [{ role: "user", content: request }];
  const ask = { model, max_tokens: 400, thinking: off, tools, messages };
  const whole = await client.messages.create(ask);
  assert.equal(whole.stop_reason, "tool_use");
  const use = whole.content.find((b) => b.type === "tool_use");
  assert.deepEqual(use.input, expected);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.deepEqual(streamed.content.find((b) => b.type === "tool_use").input, expected);
  const second = await client.messages.create({
    ...ask,
    messages: [
      ...messages,
      { role: "assistant", content: whole.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: [{ type: "text", text: "Done." }] }] },
    ],
  });
  assert.ok(second.usage.cache_read_input_tokens > 100);
  const forced = await client.messages.create({ ...ask, tool_choice: { type: "tool", name: "move_lander" } });
  assert.equal(forced.content.find((b) => b.type === "tool_use").name, "move_lander");
});

test("stop sequences and limits", async () => {
  const ask = { model, max_tokens: 60, thinking: off, messages: [{ role: "user", content: "Hello." }] };
  const stopped = await client.messages.create({ ...ask, stop_sequences: ["!"] });
  assert.equal(stopped.stop_reason, "stop_sequence");
  assert.equal(stopped.stop_sequence, "!");
  assert.equal((await client.messages.create({ ...ask, max_tokens: 2 })).stop_reason, "max_tokens");
});

test("count_tokens counts what a message reads", async () => {
  const messages = [{ role: "user", content: "Hello." }];
  const count = await client.messages.countTokens({ model, thinking: off, messages });
  const answer = await client.messages.create({ model, max_tokens: 1, thinking: off, messages });
  assert.equal(count.input_tokens, answer.usage.input_tokens + answer.usage.cache_read_input_tokens);
});

test("errors are the client's own classes", async () => {
  const ask = { model, max_tokens: 10, messages: [{ role: "user", content: "Hello." }] };
  const image = [{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }];
  await assert.rejects(client.messages.create({ ...ask, messages: [{ role: "user", content: image }] }), (e) => {
    assert.ok(e instanceof Anthropic.BadRequestError);
    assert.match(e.error.error.message, /messages\[0\]\.content\[0\]/);
    assert.equal(e.error.error.type, "invalid_request_error");
    return true;
  });
  await assert.rejects(client.messages.create({ ...ask, messages: [] }), Anthropic.BadRequestError);
});
