// One message of a conversation as an article: text, folded reasoning, cards for tool calls, and what can be done with it.
import {codeBlock, show} from './markdown.js';
import {count, el, seconds} from './dom.js';

const NAMES = {system: 'System', user: 'You', assistant: 'Model', tool: 'Tool', text: 'Text'};

// Arguments are JSON when complete; while they stream, or if they never were, they are shown as they came.
function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function details(className, summary, open) {
  const body = el('div.body');
  const label = el('summary', {}, summary);
  const box = el(`details.${className}`, {open}, label, body);
  return {box, body, label};
}

// A call and, once known, its result. `state`: writing, waiting, done, cut.
class ToolCard {
  constructor(call) {
    this.call = {arguments: '', ...call};
    this.name = el('span.name', {}, this.call.name);
    this.stateText = el('span.state');
    this.argumentsBox = el('div');
    this.resultBox = el('div');
    this.node = el('section.card', {'aria-label': `Call of ${this.call.name}`},
      el('header', {}, el('span.glyph', {'aria-hidden': 'true'}, '⚙'), this.name, this.stateText), this.argumentsBox, this.resultBox);
    this.setState('writing');
    this.drawArguments();
  }
  setState(state) {
    this.state = state;
    this.node.dataset.state = state;
    this.stateText.textContent = {writing: 'being written', waiting: 'waits for its result', done: '', cut: 'cut off, not run'}[state];
  }
  drawArguments() { this.argumentsBox.replaceChildren(codeBlock(pretty(this.call.arguments), 'arguments')); }
  append(delta) {
    this.call.arguments += delta;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.drawArguments(); });
  }
  setResult(text) {
    this.setState('done');
    const {box, body} = details('result', `Result, ${count(text.length)} characters`, text.length < 600);
    body.append(codeBlock(pretty(text)));
    this.resultBox.replaceChildren(box);
  }
  // A field for the result; `send` is called on Ctrl+Enter.
  askResult(send) {
    this.setState('waiting');
    this.field = el('textarea', {rows: '2', 'aria-label': `Result of ${this.call.name}`, placeholder: 'Its result: text or JSON',
      onkeydown: event => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send(); }});
    this.resultBox.replaceChildren(this.field);
  }
}

export class MessageView {
  // `actions`: [{name, label, run}], shown when the message is pointed at or focused.
  constructor(role, actions = []) {
    this.role = role;
    this.cards = [];
    this.text = '';
    this.reasoningText = '';
    this.content = el('div.text');
    this.notes = el('div.notes');
    this.actions = el('div.actions.row', {}, actions.map(a => el('button.small', {type: 'button', onclick: a.run, title: a.title}, a.name)));
    this.node = el(`article.message.${role}`, {tabindex: '0', 'aria-label': NAMES[role] ?? role},
      el('header.who', {}, el('span', {}, NAMES[role] ?? role), this.actions), this.content, this.notes);
  }

  setText(text) { this.text = text; show(this.content, text); }
  addText(delta) { this.text += delta; this.#later(); }
  addReasoning(delta) { this.#reasoning(true); this.reasoningText += delta; this.#later(); }

  // Reasoning of an earlier turn that the model no longer sees is marked so.
  setReasoning(text, inContext = true) {
    this.#reasoning(false);
    this.reasoningText = text;
    show(this.reasoning.body, text);
    this.reasoning.label.textContent = `Reasoning${inContext ? '' : ', no longer in the context'}`;
  }
  foldReasoning(label) {
    if (!this.reasoning) return;
    this.reasoning.label.textContent = label;
    this.reasoning.box.classList.remove('live');
  }
  #reasoning(live) {
    if (this.reasoning) return;
    this.reasoning = details(live ? 'reasoning.live' : 'reasoning', live ? 'Thinking…' : 'Reasoning', false);
    this.content.before(this.reasoning.box);
  }
  // At most one redraw per frame, however fast the tokens come.
  #later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => this.flush());
  }
  flush() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    show(this.content, this.text);
    if (this.reasoning) show(this.reasoning.body, this.reasoningText);
  }

  addCard(call) {
    const card = new ToolCard(call);
    this.cards.push(card);
    this.notes.before(card.node);
    return card;
  }
  note(text, className = 'quiet') { this.notes.append(el(`p.${className}`, {}, text)); }

  // Reading the prompt: done and total tokens, rate and time left once they are known.
  setPrefill(p) {
    this.waiting?.remove();
    this.waiting = undefined;
    if (!this.progress) {
      this.progress = {bar: el('progress', {max: 1, 'aria-label': 'Reading the prompt'}), text: el('span.quiet')};
      this.progress.box = el('div.prefill', {}, this.progress.bar, this.progress.text);
      this.notes.before(this.progress.box);
    }
    this.progress.bar.value = p.total > 0 ? p.done / p.total : 1;
    const rate = p.tokens_per_second ? ` · ${count(Math.round(p.tokens_per_second))}/s` : '';
    const left = p.eta_seconds !== null && p.eta_seconds !== undefined ? ` · ${seconds(p.eta_seconds)} left` : '';
    const had = p.cached ? ` · ${count(p.cached)} were cached` : '';
    this.progress.text.textContent = `Reading ${count(p.done)} of ${count(p.total)} tokens${rate}${left}${had}`;
    if (p.done >= p.total) this.endPrefill();
  }
  setWaiting(text) {
    this.waiting ??= el('p.quiet.waiting');
    this.waiting.textContent = text;
    this.notes.before(this.waiting);
  }
  endPrefill() {
    this.progress?.box.remove();
    this.waiting?.remove();
    this.progress = this.waiting = undefined;
  }
}

// A message of GET .../messages.
export function viewOf(message, actions) {
  const view = new MessageView(message.role, actions);
  if (message.reasoning) view.setReasoning(message.reasoning, message.reasoning_in_context !== false);
  view.setText(message.content ?? '');
  for (const call of message.tool_calls ?? []) view.addCard(call).setState(message.finished === false ? 'cut' : 'waiting');
  if (message.finished === false) view.note('This answer was cut off.');
  return view;
}
