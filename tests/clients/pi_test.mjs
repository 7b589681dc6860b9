// The pi coding agent, over Chat Completions.
import assert from 'node:assert/strict';
import {existsSync, mkdirSync, writeFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {test} from 'node:test';
import {place, request, run, secret} from './agents.mjs';

const program = resolve('agents/pi-coding-agent/node_modules/.bin/pi');

test('pi runs a command and answers with what it printed', {skip: existsSync(program) ? false : 'pi is not installed'}, async () => {
  const here = place();
  const settings = join(here.folder, 'pi');
  mkdirSync(settings);
  writeFileSync(join(settings, 'models.json'), JSON.stringify({providers: {hadal: {baseUrl: `${process.env.HADAL_URL}/v1`, api: 'openai-completions',
    apiKey: 'none', models: [{id: 'nano', reasoning: false, contextWindow: 1000000, maxTokens: 400}]}}}));
  const {status, lines, err} = await run(program, ['-p', '--mode', 'json', '--no-session', '--no-context-files', '--no-skills', '--no-extensions', '--tools', 'bash',
    '--thinking', 'off', '--system-prompt', 'You are a helpful assistant.', '--provider', 'hadal', '--model', 'nano', request],
  {...here, env: {PI_CODING_AGENT_DIR: settings, PI_OFFLINE: '1'}});
  assert.equal(status, 0, err);
  const {messages} = lines.find(line => line.type === 'agent_end');
  assert.deepEqual(messages.map(m => m.role), ['user', 'assistant', 'toolResult', 'assistant']);
  const call = messages[1].content.find(part => part.type === 'toolCall');
  assert.equal(call.name, 'bash');
  assert.deepEqual(call.arguments, {command: 'cat notes.txt'});
  assert.match(messages[2].content[0].text, new RegExp(secret));
  assert.equal(messages[3].stopReason, 'stop');
  assert.match(messages[3].content.find(part => part.type === 'text').text, new RegExp(secret));
  // The second request reads only the tool's result anew.
  assert.ok(messages[3].usage.cacheRead >= messages[1].usage.input, `${messages[3].usage.cacheRead} of ${messages[1].usage.input}`);
});
