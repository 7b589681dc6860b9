// The conversation of one session: showing it, sending to it, and following an answer as it is written.
import {api, ApiError} from './api.js';
import {ask} from './dialogs.js';
import {at, count, el, say, seconds} from './dom.js';
import {MessageView, viewOf} from './message.js';
import {showMeter} from './meter.js';
import * as sidebar from './sidebar.js';

let session = null;    // of GET /v1/sessions/ID; null: the next message starts one
let shown = null;      // of GET .../messages
let draft = null;      // fields of a session to be made with the first message
let running = null;    // {controller, view}
let waitingCards = []; // calls whose results are to be typed
let poll = 0;

const busy = () => running !== null;
const readOnly = () => shown && session && shown.branch !== session.branch;

export function notice(text, retry) {
  const box = at('notice');
  box.hidden = !text;
  box.replaceChildren(...(text ? [el('span', {}, text), retry ? el('button.small', {type: 'button', onclick: () => { notice(''); retry(); }}, 'Try again') : null,
    el('button.small', {type: 'button', 'aria-label': 'Dismiss', onclick: () => notice('')}, '×')].filter(Boolean) : []));
}

// Runs `work`; what goes wrong becomes a sentence with a way to try again.
async function attempt(work, again = true) {
  try {
    return await work();
  } catch (error) {
    if (error.name === 'AbortError') return undefined;
    if (!(error instanceof ApiError)) console.error(error);
    notice(error.message, again ? () => attempt(work) : undefined);
    return undefined;
  }
}

function followEnd(force) {
  const box = at('messages');
  const near = box.scrollHeight - box.scrollTop - box.clientHeight < 160;
  if (force || near) box.scrollTop = box.scrollHeight;
}

function drawHead() {
  at('title').textContent = session ? session.title || session.id : draft ? 'New session, prepared' : 'New session';
  document.title = session ? `${session.title || session.id} · hadal` : 'hadal';
  at('subtitle').textContent = session ? `${count(session.length)} tokens` : '';
  at('session-actions').hidden = !session;
  at('send').disabled = busy() || Boolean(readOnly());
  at('send').hidden = busy();
  at('stop').hidden = !busy();
  at('composer-text').disabled = Boolean(readOnly());
  at('send').textContent = waitingCards.length ? 'Send results' : 'Send';
}

async function drawBranches() {
  const box = at('branch-box');
  box.hidden = !session || session.branches < 2;
  if (box.hidden) return;
  const branches = await api.branches(session.id);
  at('branch').replaceChildren(...branches.map(b => el('option', {value: String(b.branch), selected: b.branch === shown.branch},
    `${b.branch}${b.branch === session.branch ? ', live' : ''} · ${count(b.length)} tokens`)));
}

function actionsOf(message, index) {
  if (!session) return [];
  const copy = {name: 'Copy', run: () => navigator.clipboard.writeText(message.content ?? '')};
  const fork = {name: 'Fork from here', title: 'A new session with everything up to here', run: () => attempt(() => forkAt(index + 1))};
  if (readOnly()) return [copy, fork];
  const list = [copy, fork];
  if (index + 1 < shown.messages.length) {
    list.push({name: 'Rewind to here', title: 'Go back to here; what follows stays as a branch', run: () => attempt(() => rewindTo(index + 1))});
  }
  if (message.role === 'user') list.push({name: 'Edit', title: 'Go back and say it differently', run: () => attempt(() => edit(index, message.content))});
  if (message.role === 'assistant') list.push({name: 'Answer again', title: 'Go back and let the model answer anew', run: () => attempt(() => answerAgain(index))});
  return list;
}

function drawMessages() {
  const box = at('messages');
  const cards = new Map();
  waitingCards = [];
  const nodes = [];
  shown?.messages.forEach((message, index) => {
    const card = message.role === 'tool' ? cards.get(message.tool_call_id) : undefined;
    if (card) { card.setResult(message.content ?? ''); return; }
    const view = viewOf(message, actionsOf(message, index));
    message.tool_calls?.forEach((call, i) => cards.set(call.id, view.cards[i]));
    nodes.push(view.node);
  });
  const last = shown?.messages.at(-1);
  if (last?.role === 'assistant' && last.finished !== false && !readOnly()) {
    waitingCards = (last.tool_calls ?? []).map(call => cards.get(call.id)).filter(card => card.state === 'waiting');
    for (const card of waitingCards) card.askResult(() => at('composer').requestSubmit());
  }
  if (last?.role === 'assistant' && last.finished === false && !readOnly()) {
    nodes.push(el('div.row.center', {}, el('button', {type: 'button', onclick: () => generate({continue: true})}, 'Continue the answer')));
  }
  if (readOnly()) {
    nodes.push(el('p.quiet.center', {}, 'You are looking at a branch that is not the live one. Fork from a message to go on from it.'));
  }
  if (!nodes.length) {
    nodes.push(el('div.welcome', {}, el('h3', {}, 'What shall we look at?'),
      el('p.quiet', {}, 'Every token of a session is kept as it was sampled. Fork it, go back, close the page, restart the server: it goes on where it was.')));
  }
  box.replaceChildren(...nodes);
  followEnd(true);
}

async function refresh(branch) {
  clearTimeout(poll);
  const id = session.id;
  const [fresh, messages] = await Promise.all([api.get(id), api.messages(id, branch)]);
  if (session?.id !== id) return;  // another one was opened meanwhile
  session = fresh;
  shown = messages;
  sidebar.updateSession(session);
  drawMessages();
  drawHead();
  at('effort').value = '';
  await drawBranches();
  api.meter(id, branch).then(meter => { if (session?.id === id) { showMeter(meter); sidebar.showKept(meter.kept); } }, () => showMeter(null));
  if (session.busy && !busy()) {
    at('messages').append(el('p.quiet.center', {}, 'An answer is being written elsewhere; it appears here when it is done.'));
    poll = setTimeout(() => { if (session?.id === id) attempt(() => refresh(branch), false); }, 2000);
  }
}

export async function openSession(id) {
  if (session?.id === id && !readOnly()) return;
  stop();
  notice('');
  session = {id, title: '', length: 0, branches: 1};
  shown = null;
  draft = null;
  sidebar.setCurrent(id);
  at('messages').replaceChildren(el('p.quiet.center', {}, 'Loading…'));
  showMeter(null);
  const done = await attempt(async () => { await refresh(); return true; });
  if (!done) at('messages').replaceChildren();
}

export function openNew(fields = null) {
  stop();
  clearTimeout(poll);
  notice('');
  session = null;
  shown = null;
  draft = fields;
  sidebar.setCurrent(null);
  showMeter(null);
  at('branch-box').hidden = true;
  drawMessages();
  drawHead();
  at('effort').value = fields?.effort ?? '';
  at('composer-text').focus();
}

function goTo(id) { location.hash = `#/s/${encodeURIComponent(id)}`; }

async function forkAt(messages) {
  const made = await api.fork(session.id, {branch: shown.branch, messages});
  sidebar.updateSession(made);
  say('Forked. You are in the new session.');
  goTo(made.id);
}

async function rewindTo(messages) {
  session = await api.rewind(session.id, {branch: shown.branch, messages});
  await refresh();
  say('Rewound. What followed is kept as a branch.');
}

async function edit(index, text) {
  await rewindTo(index);
  at('composer-text').value = text ?? '';
  fit();
  at('composer-text').focus();
}

async function answerAgain(index) {
  await rewindTo(index);
  await generate({});
}

// A way of reading the events of an answer into the view that shows it.
function follower(view) {
  const cards = new Map();
  let began = 0;
  return (event, data) => {
    switch (event) {
      case 'queued': view.setWaiting(data.place > 0 ? `Waiting in line, place ${data.place}` : 'Waiting in line'); break;
      case 'prefill': view.setPrefill(data); break;
      case 'reasoning':
        began ||= performance.now();
        view.endPrefill();
        view.addReasoning(data.delta);
        break;
      case 'content':
        view.endPrefill();
        if (view.text === '') view.foldReasoning(`Reasoning, ${seconds((performance.now() - began) / 1000)}`);
        view.addText(data.delta);
        break;
      case 'tool_call':
        view.endPrefill();
        view.flush();
        cards.set(data.index, view.addCard(data));
        break;
      case 'arguments': cards.get(data.index)?.append(data.delta); break;
      case 'tool_call_end': cards.get(data.index)?.setState('waiting'); break;
      case 'ignored': view.note(`Left out, ${data.reason}: ${data.text}`); break;
      case 'meter': showMeter({...data, cached: data.cached ?? data.tokens}); break;
      default: break;  // start and done are looked at by generate()
    }
    followEnd(false);
  };
}

async function generate(fields) {
  const controller = new AbortController();
  const view = new MessageView('assistant');
  view.node.setAttribute('aria-busy', 'true');
  at('messages').querySelectorAll('.row.center, .welcome').forEach(node => node.remove());
  at('messages').append(view.node);
  running = {controller, view};
  waitingCards = [];
  drawHead();
  followEnd(true);
  say('The model is answering.');
  const id = session.id;
  const effort = at('effort').value;
  const follow = follower(view);
  let sentence = 'The answer is complete.';
  let failure = null;
  try {
    await api.generate(id, {...fields, ...(effort ? {effort} : {})}, (event, data) => {
      follow(event, data);
      if (event !== 'done') return;
      if (data.finish_reason === 'tool_calls') sentence = 'The model asks for tools.';
      if (data.finish_reason === 'length') sentence = 'The answer ended at its limit.';
    }, controller.signal);
  } catch (error) {
    sentence = error.name === 'AbortError' ? 'Stopped. What was generated is kept.' : error.message;
    if (error.name !== 'AbortError') failure = error;
  }
  view.flush();
  view.node.removeAttribute('aria-busy');
  if (running?.controller === controller) running = null;
  say(sentence);
  if (session?.id !== id) return;
  if (failure) notice(failure.message, () => attempt(() => refresh()));
  drawHead();
  // The server ends a stopped answer within a step; the log says what it came to.
  await attempt(async () => { if (session?.id === id) await refresh(); }, false);
  if (waitingCards.length) waitingCards[0].field.focus();
}

// What the composer sends: a message, or the results of the calls that wait.
async function submit() {
  if (busy() || readOnly()) return;
  const field = at('composer-text');
  const text = field.value.trim();
  const messages = [];
  if (waitingCards.length) {
    const open = waitingCards.find(card => card.field.value.trim() === '');
    if (open) { open.field.focus(); say('Every call needs a result.'); return; }
    for (const card of waitingCards) messages.push({role: 'tool', tool_call_id: card.call.id, content: card.field.value});
  }
  if (text) messages.push({role: 'user', content: field.value});
  const unanswered = ['user', 'tool'].includes(shown?.messages.at(-1)?.role);
  if (!messages.length && !unanswered) return;
  notice('');
  const done = await attempt(async () => {
    if (!session) {
      const {effort, ...fields} = draft ?? {};  // how hard to think is said with each answer
      session = await api.create(fields);
      if (effort) at('effort').value ||= effort;
      draft = null;
      shown = {branch: session.branch, messages: []};
      history.replaceState(null, '', `#/s/${encodeURIComponent(session.id)}`);
      sidebar.updateSession(session);
      sidebar.setCurrent(session.id);
      at('messages').replaceChildren();
    }
    return true;
  }, false);
  if (!done) return;
  field.value = '';
  fit();
  for (const card of waitingCards) card.setResult(card.field.value);
  at('messages').querySelector('.welcome')?.remove();
  if (text) at('messages').append(viewOf({role: 'user', content: text}).node);
  await generate(messages.length ? {messages} : {});
}

export function stop() { running?.controller.abort(); }

// The field grows with its text, up to a third of the window.
function fit() {
  const field = at('composer-text');
  field.style.height = 'auto';
  field.style.height = `${Math.min(field.scrollHeight + 2, innerHeight / 3)}px`;
}

async function exportSession(event) {
  event.preventDefault();
  await attempt(async () => {
    const address = URL.createObjectURL(await api.exported(session.id));
    el('a', {href: address, download: `${session.id}.hadal-session`}).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
}

export function setUpChat(onRemoved) {
  at('composer').addEventListener('submit', event => { event.preventDefault(); submit(); });
  at('composer-text').addEventListener('input', fit);
  at('composer-text').addEventListener('keydown', event => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  at('stop').addEventListener('click', stop);
  at('branch').addEventListener('change', () => attempt(() => refresh(Number(at('branch').value))));
  at('rename').addEventListener('click', async () => {
    const title = await ask('Name of this session', session.title, {suggest: async () => (await api.instruct(session.id, 'title')).text});
    if (title?.trim()) await attempt(async () => { session = await api.rename(session.id, title.trim()); sidebar.updateSession(session); drawHead(); });
  });
  at('fork').addEventListener('click', () => attempt(() => forkAt(shown.messages.length)));
  at('export').addEventListener('click', exportSession);
  at('remove').addEventListener('click', async () => {
    if (!await ask(`Delete “${session.title || session.id}”? This cannot be undone.`, null, {ok: 'Delete'})) return;
    await attempt(async () => { await api.remove(session.id); sidebar.dropSession(session.id); onRemoved(); });
  });
}
