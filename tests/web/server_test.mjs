// The page against the real server: a conversation, going back, forking, what stays after a reload.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {shot, url, withPage} from './browser.mjs';

// Does `work`, which makes the model answer, and waits until one more answer is there and nothing is being written.
async function answered(page, work) {
  const had = await page.locator('article.assistant').count();
  await work();
  await page.waitForFunction(n => document.querySelector('#stop').hidden && !document.querySelector('[aria-busy]') &&
    document.querySelectorAll('article.assistant').length > n && document.querySelector('#send').checkVisibility(), had);
}
// As in nano's training, so that it calls the tool nearly always.
const LIST_DIR = {type: 'function', function: {name: 'list_dir', description: 'List the files of a directory',
  parameters: {type: 'object', properties: {path: {type: 'string'}}, required: ['path']}}};

async function say(page, text) {
  await page.fill('#composer-text', text);
  await answered(page, () => page.press('#composer-text', 'Enter'));
}
const titles = page => page.locator('#sessions .session').count();

test('asks, answers, keeps: the session is there after a reload', async () => withPage(async page => {
  await page.goto(url);
  await page.selectOption('#effort', 'none');
  await say(page, 'Hello! What can you do?');
  assert.equal(await page.locator('article.user').count(), 1);
  const answer = await page.locator('article.assistant .text').innerText();
  assert.ok(answer.length > 0, 'there is an answer');
  assert.match(page.url(), /#\/s\//);
  assert.match(await page.locator('#meter-text').innerText(), /^\d+ of 1,048,576 tokens · \d+ cached · [\d.]+ kB of [\d.]+ MB$/);
  await page.reload();
  await page.waitForSelector('article.assistant');
  assert.equal(await page.locator('article.assistant .text').innerText(), answer);
  assert.ok(await titles(page) >= 1);
  await shot(page, 'conversation');
}));

test('the meter opens and lists bytes by kind', async () => withPage(async page => {
  await page.goto(url);
  await page.selectOption('#effort', 'none');
  await say(page, 'Good morning');
  await page.locator('#title').focus();
  await page.keyboard.press('m');
  const rows = await page.locator('#meter-table th').allInnerTexts();
  for (const kind of ['sliding windows', 'index keys', 'open compressor windows', 'this context']) assert.ok(rows.includes(kind), `${kind} in ${rows}`);
  assert.ok(rows.some(r => r.startsWith('compressed rows')));
  await shot(page, 'meter');
}));

test('forks and rewinds; the branch that was left can be looked at', async () => withPage(async page => {
  await page.goto(url);
  await page.selectOption('#effort', 'none');
  await say(page, 'First question');
  const first = await page.locator('article.assistant .text').innerText();
  await say(page, 'Second question');
  assert.equal(await page.locator('article.message').count(), 4);
  await page.locator('article.message').nth(1).getByText('Rewind to here').click();
  await page.waitForFunction(() => document.querySelectorAll('article.message').length === 2);
  assert.equal(await page.locator('article.assistant .text').innerText(), first);
  await page.waitForSelector('#branch-box:not([hidden])');
  const branches = await page.locator('#branch option').count();
  assert.ok(branches >= 2, `${branches} branches`);
  await page.selectOption('#branch', {index: 0});
  await page.waitForFunction(() => document.querySelectorAll('article.message').length === 4);
  assert.ok(await page.locator('#send').isDisabled(), 'nothing can be sent to a branch that is not live');
  const before = page.url();
  await page.locator('article.message').nth(3).getByText('Fork from here').click();
  await page.waitForFunction(old => location.href !== old, before);
  await page.waitForFunction(() => document.querySelectorAll('article.message').length === 4);
  assert.ok(!await page.locator('#send').isDisabled());
}));

test('a session can be prepared with tools, and a call becomes a card with a field for its result', async () => withPage(async page => {
  await page.goto(url);
  await page.click('#prepare');
  await page.fill('#new-tools', 'not JSON');
  await page.click('#new-create');
  assert.match(await page.locator('#new-error').innerText(), /not JSON/);
  await page.fill('#new-tools', JSON.stringify([LIST_DIR]));
  await page.selectOption('#new-effort', 'none');
  await page.click('#new-create');
  await say(page, 'Now I want you to list notes/harbour.');
  const card = page.locator('.card');
  await card.waitFor();
  assert.match(await card.innerText(), /list_dir/);
  assert.match(await card.innerText(), /"path": "notes\/harbour"/);
  await shot(page, 'tool-call');
  await page.fill('.card textarea', '{"entries": ["a.txt", "b.txt"]}');
  await answered(page, () => page.press('.card textarea', 'Control+Enter'));
  assert.ok(await page.locator('article.assistant').count() >= 2);
  assert.match(await page.locator('details.result').first().innerText(), /Result/);
  await shot(page, 'tool-result');
}));

test('renames and deletes', async () => withPage(async page => {
  await page.goto(url);
  await page.selectOption('#effort', 'none');
  await say(page, 'Something to delete');
  await page.click('#rename');
  await page.fill('#ask-text', 'A name of my own');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelector('#title').textContent === 'A name of my own');
  const had = await titles(page);
  await page.click('#remove');
  await page.click('#ask-ok');
  await page.waitForFunction(n => document.querySelectorAll('#sessions .session').length === n - 1, had);
}));

test('the policy forbids everything that is not the page itself', async () => {
  const answer = await fetch(`${url}/`, {headers: {accept: 'text/html'}});
  assert.match(answer.headers.get('content-security-policy'), /default-src 'none'/);
  const tag = answer.headers.get('etag');
  assert.equal((await fetch(`${url}/`, {headers: {accept: 'text/html', 'if-none-match': tag}})).status, 304);
  assert.equal((await fetch(`${url}/web/nothing.js`)).status, 404);
  assert.match(await (await fetch(`${url}/`, {headers: {accept: '*/*'}})).text(), /^hadal serves/);
});
