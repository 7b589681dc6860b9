// Vercel's `ai` with its providers for both APIs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { description, expected, parameters, request, url } from "./support.mjs";

const providers = {
  "openai-compatible": createOpenAICompatible({ name: "hadal", baseURL: url + "/v1", apiKey: "none", includeUsage: true })("nano"),
  anthropic: createAnthropic({ baseURL: url + "/v1", apiKey: "none" })("nano"),
};

for (const [name, model] of Object.entries(providers)) {
  test(`${name}: text, streamed`, async () => {
    const result = streamText({ model, prompt: "Hello.", maxOutputTokens: 300 });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.ok(text.length > 0);
    assert.ok((await result.usage).outputTokens > 0);
    assert.ok((await result.reasoningText).length > 0);
  });

  test(`${name}: a tool runs in a loop of steps`, async () => {
    const seen = [];
    const move_lander = tool({
      description,
      inputSchema: jsonSchema(parameters),
      execute: async (input) => {
        seen.push(input);
        return "The lander is there.";
      },
    });
    const result = await generateText({ model, prompt: request, tools: { move_lander }, stopWhen: stepCountIs(2), maxOutputTokens: 600 });
    assert.deepEqual(seen[0], expected);
    assert.equal(result.steps.length, 2);
  });
}
