// OpenCode, over Chat Completions by Vercel's provider.
import assert from 'node:assert/strict';
import {existsSync, writeFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {test} from 'node:test';
import {place, request, run, secret} from './agents.mjs';

const program = resolve('agents/opencode-ai/node_modules/.bin/opencode');

test('OpenCode runs a command and answers with what it printed', {skip: existsSync(program) ? false : 'OpenCode is not installed'}, async () => {
  const here = place();
  writeFileSync(join(here.work, 'opencode.json'), JSON.stringify({
    model: 'hadal/nano', small_model: 'hadal/nano', autoupdate: false, share: 'disabled', permission: {bash: 'allow'},
    provider: {hadal: {npm: '@ai-sdk/openai-compatible', name: 'hadal', options: {baseURL: `${process.env.HADAL_URL}/v1`, apiKey: 'none'},
      models: {nano: {name: 'nano', tool_call: true, limit: {context: 1000000, output: 400}}}}},
    agent: {mini: {description: 'small', mode: 'primary', prompt: 'You are a helpful assistant.', tools: {'*': false, bash: true}}},
  }));
  const {status, lines, err} = await run(program, ['run', '--agent', 'mini', '--model', 'hadal/nano', '--format', 'json', request],
    {...here, env: {OPENCODE_DISABLE_MODELS_FETCH: '1', OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_LSP_DOWNLOAD: '1'}});
  assert.equal(status, 0, err);
  const tool = lines.find(line => line.type === 'tool_use')?.part;
  assert.equal(tool?.tool, 'bash', JSON.stringify(lines).slice(0, 2000));
  assert.deepEqual(tool.state.input.command, 'cat notes.txt');
  assert.match(tool.state.output, new RegExp(secret));
  assert.match(lines.find(line => line.type === 'text').part.text, new RegExp(secret));
  const steps = lines.filter(line => line.type === 'step_finish').map(line => line.part);
  assert.deepEqual(steps.map(step => step.reason), ['tool-calls', 'stop']);
  assert.ok(steps[1].tokens.cache.read >= steps[0].tokens.input, JSON.stringify(steps.map(step => step.tokens)));
});
