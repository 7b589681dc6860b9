// A browser for the tests: one process, a fresh context per test, and what the page complained about.
import assert from 'node:assert/strict';
import {after, before} from 'node:test';
import {chromium} from 'playwright-core';

export const url = process.env.HADAL_URL;
let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
});
after(async () => { await browser?.close(); });

// Runs `work(page)` in a context of its own. Requests to other hosts, script errors and violations of the content
// security policy fail the test.
export async function withPage(work, options = {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 800}, ...options});
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('console', m => { if (/Content.Security.Policy|Trusted/i.test(m.text())) complaints.push(m.text()); });
  page.on('request', r => { if (!r.url().startsWith(url) && !r.url().startsWith('blob:')) complaints.push(`request to ${r.url()}`); });
  try {
    await work(page);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

export async function shot(page, name) {
  if (process.env.SHOTS) await page.screenshot({path: `${process.env.SHOTS}/${name}.png`});
}
