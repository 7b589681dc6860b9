// The list of sessions: filter, arrow keys, and what each one is in two lines.
import {ago, at, bytes, count, el} from './dom.js';

let sessions = [];
let current = null;

function describe(s) {
  if (!s.usable) return 'cannot be used here';
  const parts = [ago(s.updated_ms), `${count(s.length)} tokens`];
  if (s.branches > 1) parts.push(`${s.branches} branches`);
  if (s.busy) parts.unshift('answering');
  return parts.join(' · ');
}

function draw() {
  const wanted = at('filter').value.trim().toLowerCase();
  const shown = sessions.filter(s => !wanted || (s.title || s.id).toLowerCase().includes(wanted));
  at('sessions').replaceChildren(...shown.map(s => el('li', {}, el('a.session', {
    href: `#/s/${encodeURIComponent(s.id)}`, 'aria-current': s.id === current ? 'page' : null, title: s.problem || null,
    'data-usable': String(s.usable !== false),
  }, el('span.title', {}, s.title || s.id), el('span.quiet', {}, describe(s))))));
  if (shown.length === 0) {
    at('sessions').append(el('li.quiet.empty', {}, sessions.length ? 'No session matches.' : 'No sessions yet.'));
  }
}

export function showSessions(list) { sessions = list; draw(); }
export function setCurrent(id) { current = id; draw(); }
export function updateSession(session) {
  sessions = [session, ...sessions.filter(s => s.id !== session.id)];
  draw();
}
export function dropSession(id) { sessions = sessions.filter(s => s.id !== id); draw(); }
export function neighbour(step) {
  const i = sessions.findIndex(s => s.id === current);
  return sessions[i < 0 ? 0 : i + step]?.id;
}
export function showKept(kept) {
  at('kept').textContent = kept?.bytes ? `${bytes(kept.bytes)} kept` : '';
}

export function setUpSidebar() {
  at('filter').addEventListener('input', draw);
  at('sessions').addEventListener('keydown', event => {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!step) return;
    const links = [...at('sessions').querySelectorAll('a')];
    links[links.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  });
  at('sessions').addEventListener('click', event => {
    if (event.target.closest('a')) document.body.classList.remove('show-sidebar');
  });
  at('sidebar-open').addEventListener('click', () => { document.body.classList.add('show-sidebar'); at('filter').focus(); });
  at('sidebar-close').addEventListener('click', () => { document.body.classList.remove('show-sidebar'); at('sidebar-open').focus(); });
}
