// The page against answers written here: what is shown when things take long, go wrong or are hostile.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {shot, url, withPage} from './browser.mjs';

const session = {id: 's1', title: 'Kettles', title_set: true, model: 'nano', created_ms: Date.now(), updated_ms: Date.now(), length: 812, branch: 0, branches: 1,
  file_bytes: 1, parent: null, busy: false, usable: true, problem: ''};
const meter = {tokens: 412345, context_length: 1048576, cached: 400000,
  cache_bytes: {window: 5_600_000, compressed: {ratio_4: 1_020_000_000, ratio_128: 31_000_000}, index_keys: 410_000_000, open_windows: 800_000, total: 1_467_400_000},
  budget_bytes: 3684696064, kept: {bytes: 2e9, limit_bytes: 8e9, disk_bytes: 3e10, disk_limit_bytes: 1e11}};

// Answers of the API by path; `over` replaces some. `generate` is a list of [event, data].
async function scripted(page, {messages = [], generate = [], over = {}} = {}) {
  const state = {messages};
  await page.route('**/v1/**', async route => {
    const path = new URL(route.request().url()).pathname;
    const key = `${route.request().method()} ${path}`;
    if (over[key]) return over[key](route, state);
    if (path === '/v1/models') return route.fulfill({json: {data: [{id: 'nano'}]}});
    if (key === 'GET /v1/sessions') return route.fulfill({json: {sessions: [session], more: false}});
    if (path.endsWith('/messages')) return route.fulfill({json: {session: 's1', branch: 0, length: 812, complete: true, effort: 'high', tools: [], messages: state.messages}});
    if (path.endsWith('/meter')) return route.fulfill({json: meter});
    if (path.endsWith('/generate')) {
      return route.fulfill({contentType: 'text/event-stream', body: generate.map(([e, d]) => `event: ${e}\ndata: ${JSON.stringify(d)}\n\n`).join('')});
    }
    return route.fulfill({json: session});
  });
}
const open = page => page.goto(`${url}/#/s/s1`);

test('text of the model never becomes markup', async () => withPage(async page => {
  const evil = '<img src=x onerror="window.hit=1"> <script>window.hit=1</script> [a](javascript:window.hit=1) [b](https://example.org/x)\n\n' +
    '```html\n<script>window.hit=1</script>\n```';
  await scripted(page, {messages: [{role: 'user', content: evil}, {role: 'assistant', reasoning: evil, content: evil, finished: true,
    tool_calls: [{id: 'c', name: '<b>x</b>', arguments: evil}]}, {role: 'tool', tool_call_id: 'c', content: evil}]});
  await open(page);
  await page.waitForSelector('article.assistant');
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator('#messages img, #messages script').count(), 0);
  const links = await page.locator('#messages a').evaluateAll(all => all.map(a => [a.protocol, a.rel]));
  assert.ok(links.length > 0);
  for (const [protocol, rel] of links) { assert.equal(protocol, 'https:'); assert.match(rel, /noopener/); }
}));

test('Markdown is read', async () => withPage(async page => {
  await scripted(page, {messages: [{role: 'user', content: 'Show me'}, {role: 'assistant', finished: true, reasoning: 'Let me think about **lists**.', content:
    '## Heading\n\nA paragraph with **bold**, *emphasis*, `code` and https://example.org/a_b.\n\n- one\n- two\n  - inner\n\n3. three\n4. four\n\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```cpp\nint main() { return 0; }\n```\n\nsnake_case_name stays'}]});
  await open(page);
  await page.waitForSelector('article.assistant');
  const text = page.locator('article.assistant .text');
  for (const [selector, n] of [['h4', 1], ['strong', 1], ['em', 1], ['ul ul li', 1], ['ol[start="3"] > li', 2], ['blockquote', 1], ['td', 2], ['figure.code', 1]]) {
    assert.equal(await text.locator(selector).count(), n, selector);
  }
  assert.match(await text.innerText(), /snake_case_name stays/);
  assert.ok(!await page.locator('details.reasoning .body').isVisible(), 'reasoning is folded');
  await page.locator('details.reasoning summary').click();
  assert.ok(await page.locator('details.reasoning .body').isVisible());
  await shot(page, 'markdown-light');
  await page.keyboard.press('Escape');
  await page.click('#theme'); await page.click('#theme');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.locator('#title').focus();
  await page.keyboard.press('m');
  await shot(page, 'markdown-dark');
}));

test('prompt progress shows rate and time left', async () => withPage(async page => {
  await scripted(page, {over: {'POST /v1/sessions/s1/generate': () => {}}});  // never answers
  await page.addInitScript(() => {
    const real = window.fetch;
    window.fetch = (path, options) => {
      if (!String(path).endsWith('/generate')) return real(path, options);
      const stream = new ReadableStream({start(c) {
        window.feed = (event, data) => c.enqueue(new TextEncoder().encode(`: beat\r\n\r\nevent: ${event}\r\ndata: ${JSON.stringify(data)}\r\n\r\n`));
        options.signal.addEventListener('abort', () => { window.aborted = true; c.error(new DOMException('', 'AbortError')); });
      }});
      return Promise.resolve(new Response(stream, {headers: {'Content-Type': 'text/event-stream'}}));
    };
  });
  await open(page);
  await page.fill('#composer-text', 'Read this');
  await page.click('#send');
  await page.waitForFunction(() => window.feed);
  await page.evaluate(() => { window.feed('queued', {place: 2}); });
  await page.waitForSelector('text=Waiting in line, place 2');
  await page.evaluate(() => { window.feed('prefill', {done: 25000, total: 100000, cached: 1000, tokens_per_second: 1250, eta_seconds: 60}); });
  await page.waitForSelector('text=Reading 25,000 of 100,000 tokens · 1,250/s · 60 s left · 1,000 were cached');
  await shot(page, 'prefill');
  await page.evaluate(() => { window.feed('reasoning', {delta: 'Hm, '}); window.feed('reasoning', {delta: 'well.'}); });
  await page.waitForSelector('text=Thinking…');
  await page.evaluate(() => { window.feed('content', {delta: 'It is '}); window.feed('content', {delta: '**done**.'}); });
  await page.waitForSelector('article[aria-busy] strong');
  await page.evaluate(() => {
    window.feed('tool_call', {index: 0, id: 'c1', name: 'look'});
    window.feed('arguments', {index: 0, delta: '{"at": '});
  });
  await page.waitForSelector('.card[data-state=writing]');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => window.aborted);
  await page.waitForFunction(() => document.querySelector('#stop').hidden);
  assert.match(await page.locator('#status').innerText(), /Stopped/);
}));

test('an answer that breaks off says so and can be looked at again', async () => withPage(async page => {
  await scripted(page, {generate: [['start', {}], ['content', {delta: 'Half'}], ['error', {error: {message: 'The disk is full; make room and continue.'}}]]});
  await open(page);
  await page.fill('#composer-text', 'x');
  await page.click('#send');
  await page.waitForSelector('#notice:not([hidden])');
  assert.match(await page.locator('#notice').innerText(), /The disk is full/);
  await page.getByText('Try again').click();
  await page.waitForSelector('#notice[hidden]', {state: 'attached'});
}));

test('a server that is away, busy or without sessions is told in a sentence', async () => withPage(async page => {
  await scripted(page, {over: {'GET /v1/sessions': route => route.fulfill({status: 400, json: {error: {message: 'this server keeps no sessions; start it with --data DIR'}}})}});
  await page.goto(url);
  await page.waitForSelector('text=start it with --data DIR');
  await page.unroute('**/v1/**');
  await scripted(page, {over: {'POST /v1/sessions/s1/generate': route => route.fulfill({status: 429, headers: {'Retry-After': '3'}, json: {error: {message: 'Every place in line is taken.'}}})}});
  await page.getByText('Try again').click();
  await page.goto(`${url}/#/s/s1`);
  await page.waitForSelector('#session-actions:not([hidden])');
  await page.fill('#composer-text', 'x');
  await page.click('#send');
  await page.waitForSelector('text=Every place in line is taken. Try again in 3 s.');
}));

test('a key is asked for once and kept for the tab', async () => withPage(async page => {
  const guard = answer => (route, state) => (route.request().headers().authorization === 'Bearer secret' ? answer(route, state)
    : route.fulfill({status: 401, json: {error: {message: 'the API key is missing'}}}));
  await scripted(page, {over: {'GET /v1/models': guard(route => route.fulfill({json: {data: [{id: 'nano'}]}}))}});
  await page.goto(url);
  await page.fill('#key', 'secret');
  await page.keyboard.press('Enter');
  await page.waitForSelector('.session');
  assert.equal(await page.evaluate(() => localStorage.getItem('hadal.key')), null);
  await page.reload();
  await page.waitForSelector('.session');
}));

test('everything can be reached by keyboard', async () => withPage(async page => {
  await scripted(page, {messages: [{role: 'user', content: 'a'}, {role: 'assistant', content: 'b', finished: true}]});
  await open(page);
  await page.waitForSelector('article.assistant');
  await page.locator('#title').focus();
  await page.keyboard.press('?');
  assert.ok(await page.locator('#help-dialog').isVisible());
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'composer-text');
  await page.keyboard.press('Escape');
  await page.locator('article.user').focus();
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'message assistant');
  await page.keyboard.press('n');
  await page.waitForFunction(() => location.hash === '#/');
  // Controls have names.
  const nameless = await page.locator('button, a, input, select, textarea').evaluateAll(all => all.filter(e => e.checkVisibility() &&
    !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.getAttribute('aria-labelledby'))).map(e => e.outerHTML));
  assert.deepEqual(nameless, []);
}));

test('a narrow window hides the list behind a button', async () => withPage(async page => {
  await scripted(page, {messages: [{role: 'user', content: 'a long question '.repeat(20)}, {role: 'assistant', content: '`'.repeat(3) + '\n' + 'x'.repeat(300) + '\n' + '`'.repeat(3), finished: false}]});
  await open(page);
  await page.waitForSelector('article.assistant');
  assert.ok(!await page.locator('#sidebar').isVisible());
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'nothing sticks out');
  await shot(page, 'narrow');
  await page.click('#sidebar-open');
  assert.ok(await page.locator('#sidebar').isVisible());
  await shot(page, 'narrow-list');
}, {viewport: {width: 390, height: 780}, colorScheme: 'dark'}));

test('text colours stand out enough in both themes', async () => {
  for (const colorScheme of ['light', 'dark']) {
    await withPage(async page => {
      await scripted(page, {messages: [{role: 'user', content: 'a'}, {role: 'assistant', content: 'b `c`', finished: true}]});
      await open(page);
      await page.waitForSelector('article.assistant');
      const low = await page.evaluate(() => {
        const rgb = text => text.match(/[\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const back = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
        return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility({opacityProperty: true}) && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
          .map(e => { const [a, b] = [light(rgb(getComputedStyle(e).color)), light(back(e))]; return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; })
          .filter(([ratio]) => ratio < 4.5);
      });
      assert.deepEqual(low, []);
    }, {colorScheme});
  }
});
