// The page: start, addresses (#/s/ID), keyboard and theme. The parts live in modules of their own.
import {api} from './api.js';
import {notice, openNew, openSession, setUpChat, stop} from './chat.js';
import {askKey, askNew, setUpDialogs} from './dialogs.js';
import {at} from './dom.js';
import * as sidebar from './sidebar.js';

const KEYS = [
  ['n', 'new session'],
  ['s', 'prepare a session: system prompt, tools, thinking'],
  ['/', 'to the message field'],
  ['f', 'filter sessions'],
  ['j k', 'next and previous session'],
  ['↓ ↑', 'next and previous message, or session, where the focus is'],
  ['Esc', 'stop the answer, or leave a field'],
  ['Ctrl Enter', 'send the results of tool calls'],
  ['m', 'open the context meter'],
  ['t', 'theme'],
  ['?', 'this page'],
];

const THEMES = {auto: '◐', light: '☀', dark: '☾'};
function setTheme(name) {
  localStorage.setItem('hadal.theme', name);
  document.documentElement.dataset.theme = name;
  at('theme').textContent = THEMES[name];
  at('theme').setAttribute('aria-label', `Theme: ${name}`);
}
function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
}

function route() {
  const found = /^#\/s\/(.+)$/.exec(location.hash);
  if (found) openSession(decodeURIComponent(found[1]));
  else openNew();
}

function go(id) { if (id) location.hash = `#/s/${encodeURIComponent(id)}`; }
function fresh() {
  if (location.hash === '' || location.hash === '#/') openNew();
  else location.hash = '#/';
}

async function prepare() {
  const fields = await askNew();
  if (!fields) return;
  history.replaceState(null, '', '#/');
  openNew(fields);
}

// Arrow keys walk through the messages once one has the focus.
function walk(event) {
  const here = document.activeElement.closest?.('article.message');
  if (!here) return;
  const messages = [...document.querySelectorAll('article.message')];
  messages[messages.indexOf(here) + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
  event.preventDefault();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.key === 'Escape') {
    if (!at('stop').hidden) stop();
    else document.activeElement.blur();
    return;
  }
  if (event.target.closest('input, textarea, select')) return;
  const act = {
    n: fresh, s: prepare, '/': () => at('composer-text').focus(), f: () => at('filter').focus(),
    j: () => go(sidebar.neighbour(1)), k: () => go(sidebar.neighbour(-1)), ArrowDown: () => walk(event), ArrowUp: () => walk(event),
    m: () => { at('meter').open = !at('meter').open; }, t: nextTheme, '?': () => at('help-dialog').showModal(),
  }[event.key];
  if (!act) return;
  if (!event.key.startsWith('Arrow')) event.preventDefault();
  act();
}

async function start() {
  try {
    const model = await api.model();
    at('model').textContent = model.id;
    const {sessions} = await api.list();
    sidebar.showSessions(sessions);
  } catch (error) {
    if (error.status === 401 && await askKey()) { await start(); return; }
    notice(error.message, start);
    return;
  }
  route();
}

setTheme(localStorage.getItem('hadal.theme') in THEMES ? localStorage.getItem('hadal.theme') : 'auto');
at('theme').addEventListener('click', nextTheme);
at('new').addEventListener('click', fresh);
at('prepare').addEventListener('click', prepare);
sidebar.setUpSidebar();
setUpDialogs(KEYS);
setUpChat(fresh);
addEventListener('hashchange', route);
addEventListener('keydown', onKey);
start();
