// npm's `openai` against /v1/chat/completions, /v1/completions, /v1/responses and /v1/models.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { description, expected, parameters, request, respelled, url } from "./support.mjs";

const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
const tool = { type: "function", function: { name: "move_lander", description, parameters } };
const flat = { type: "function", name: "move_lander", description, parameters, strict: false };
const hello = [{ role: "user", content: "Hello." }];
const model = "nano";

test("models are listed with the length of their context", async () => {
  const list = await client.models.list();
  assert.equal(list.data[0].id, model);
  assert.ok(list.data[0].context_length > 1000);
  assert.equal((await client.models.retrieve(model)).id, model);
  await assert.rejects(client.models.retrieve("other"), OpenAI.NotFoundError);
});

test("chat, whole and streamed, say the same", async () => {
  const ask = { model, messages: hello, reasoning_effort: "none", max_tokens: 50 };
  const whole = await client.chat.completions.create(ask);
  assert.equal(whole.choices[0].finish_reason, "stop");
  assert.ok(whole.choices[0].message.content.length > 0);
  assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
  let text = "", usage, finish;
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    usage = chunk.usage ?? usage;
    assert.ok(!chunk.choices[0]?.delta.tool_calls);
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(finish, "stop");
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("reasoning comes apart from the answer and is counted", async () => {
  const answer = await client.chat.completions.create({ model, messages: hello, reasoning_effort: "high", max_tokens: 200 });
  assert.ok(answer.choices[0].message.reasoning_content.length > 0);
  assert.ok(answer.usage.completion_tokens_details.reasoning_tokens > 0);
  assert.ok(!answer.choices[0].message.content.includes("</think>"));
});

test("n answers, logprobs, seeds, stops, limits", async () => {
  const ask = { model, messages: hello, reasoning_effort: "none", max_tokens: 8, temperature: 1, seed: 7 };
  const both = await client.chat.completions.create({ ...ask, n: 2, logprobs: true, top_logprobs: 3 });
  assert.deepEqual(both.choices.map((c) => c.index), [0, 1]);
  const entries = both.choices[0].logprobs.content;
  assert.equal(entries.map((e) => e.token).join(""), both.choices[0].message.content);
  for (const e of entries) assert.ok(e.logprob <= 0 && e.top_logprobs.length === 3);
  const again = await client.chat.completions.create({ ...ask, n: 2 });
  assert.deepEqual(again.choices.map((c) => c.message.content), both.choices.map((c) => c.message.content));
  const cut = await client.chat.completions.create({ ...ask, temperature: 0, max_tokens: 2 });
  assert.equal(cut.choices[0].finish_reason, "length");
  const stopped = await client.chat.completions.create({ ...ask, temperature: 0, max_tokens: 50, stop: ["!"] });
  assert.equal(stopped.choices[0].finish_reason, "stop");
  assert.ok(!stopped.choices[0].message.content.includes("!"));
});

for (const reasoning_effort of ["none", "high"])
  test(`a tool is called, streamed and not, thinking ${reasoning_effort}; its result is read`, async () => {
    const messages = [{ role: "user", content: request }];
    const ask = { model, messages, tools: [tool], reasoning_effort, max_tokens: 300 };
    const whole = (await client.chat.completions.create(ask)).choices[0];
    assert.equal(whole.finish_reason, "tool_calls");
    assert.equal(whole.message.tool_calls[0].function.name, "move_lander");
    assert.deepEqual(JSON.parse(whole.message.tool_calls[0].function.arguments), expected);
    const streamed = await client.chat.completions.stream(ask).finalChatCompletion();
    assert.deepEqual(JSON.parse(streamed.choices[0].message.tool_calls[0].function.arguments), expected);

    // A client that respells the arguments and forgets the reasoning.
    const call = whole.message.tool_calls[0];
    const next = [
      ...messages,
      { role: "assistant", content: null, tool_calls: [{ ...call, function: { ...call.function, arguments: respelled(call.function.arguments) } }] },
      { role: "tool", tool_call_id: call.id, content: "The lander is at 6200 m." },
    ];
    const answer = await client.chat.completions.create({ ...ask, messages: next });
    assert.ok(answer.choices[0].message.content?.length > 0 || answer.choices[0].message.tool_calls);
    assert.ok(answer.usage.prompt_tokens_details.cached_tokens > 100);
  });

test("tool_choice is obeyed", async () => {
  const ask = { model, messages: hello, tools: [tool], reasoning_effort: "none", max_tokens: 120 };
  const none = await client.chat.completions.create({ ...ask, messages: [{ role: "user", content: request }], tool_choice: "none" });
  assert.equal(none.choices[0].message.tool_calls, undefined);
  const named = await client.chat.completions.create({
    ...ask, messages: [{ role: "user", content: request }], tool_choice: { type: "function", function: { name: "move_lander" } },
  });
  assert.equal(named.choices[0].message.tool_calls[0].function.name, "move_lander");
  const required = await client.chat.completions.create({ ...ask, messages: [{ role: "user", content: request }], tool_choice: "required" });
  assert.equal(required.choices[0].finish_reason, "tool_calls");
});

test("errors are the client's own classes and name the field", async () => {
  const refused = async (change, field) => {
    await assert.rejects(client.chat.completions.create({ model, messages: hello, ...change }), (e) => {
      assert.ok(e instanceof OpenAI.BadRequestError, String(e));
      assert.equal(e.param, field);
      return true;
    });
  };
  await refused({ messages: [] }, "messages");
  await refused({ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] }, "messages[0].content[0]");
  await refused({ response_format: { type: "json_object" } }, "response_format");
  await refused({ messages: [{ role: "tool", tool_call_id: "x", content: "y" }] }, "messages[0]");
  await refused({ temperature: "hot" }, "temperature");
  await refused({ audio: { voice: "alloy", format: "wav" } }, "audio");
});

test("an early leave ends the job", async () => {
  const stream = await client.chat.completions.create({ model, messages: hello, stream: true, temperature: 1 });
  for await (const _ of stream) break;
  const again = await client.chat.completions.create({ model, messages: hello, reasoning_effort: "none", max_tokens: 5 });
  assert.ok(again.choices.length === 1);
});

test("completions continue a text", async () => {
  const answer = await client.completions.create({ model, prompt: "The code of the", max_tokens: 5, echo: true });
  assert.ok(answer.choices[0].text.startsWith("The code of the"));
  let text = "";
  for await (const chunk of await client.completions.create({ model, prompt: "The code of the", max_tokens: 5, stream: true }))
    text += chunk.choices[0].text;
  assert.equal("The code of the" + text, answer.choices[0].text);
});

test("responses, whole and streamed, with reasoning", async () => {
  const ask = { model, input: "Hello.", reasoning: { effort: "high" }, store: false, include: ["reasoning.encrypted_content"] };
  const whole = await client.responses.create(ask);
  assert.equal(whole.status, "completed");
  assert.deepEqual(whole.output.map((o) => o.type), ["reasoning", "message"]);
  assert.ok(whole.output_text.length > 0);
  let text = "", done, last = -1;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    assert.equal(event.sequence_number, ++last);
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") done = event.response;
  }
  assert.equal(text, whole.output_text);
  assert.equal(done.usage.output_tokens, whole.usage.output_tokens);
});

test("responses call tools and read results", async () => {
  const ask = { model, tools: [flat, { type: "web_search" }], reasoning: { effort: "none" } };
  const { data: first, response } = await client.responses.create({ ...ask, input: request }).withResponse();
  assert.match(response.headers.get("x-hadal-warning"), /web_search/);
  const call = first.output.find((o) => o.type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), expected);
  const stream = client.responses.stream({ ...ask, input: request });
  const final = await stream.finalResponse();
  assert.equal(final.output.find((o) => o.type === "function_call").name, "move_lander");
  const second = await client.responses.create({
    ...ask,
    input: [{ role: "user", content: request }, ...first.output, { type: "function_call_output", call_id: call.call_id, output: "Done." }],
  });
  assert.equal(second.status, "completed");
  assert.ok(second.usage.input_tokens_details.cached_tokens > 100);
  await assert.rejects(client.responses.create({ ...ask, input: "x", previous_response_id: "resp_1" }), OpenAI.BadRequestError);
});
