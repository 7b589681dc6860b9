// Questions to the person in front of the page. Each answers with a promise.
import {at, el, say} from './dom.js';
import {setKey} from './api.js';

function closed(dialog) {
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue), {once: true}));
}

async function run(dialog) {
  dialog.returnValue = '';
  dialog.showModal();
  return closed(dialog);
}

// One line of text, or null. With value null it is a yes or no. `suggest` answers a promise of another text.
export async function ask(question, value, {ok = 'OK', suggest} = {}) {
  const dialog = at('ask-dialog'), field = at('ask-text');
  at('ask-heading').textContent = question;
  at('ask-ok').textContent = ok;
  field.hidden = value === null;
  at('ask-suggest').hidden = !suggest;
  at('ask-suggest').onclick = async () => {
    at('ask-suggest').disabled = true;
    try { field.value = await suggest() || field.value; } catch (error) { say(error.message); }
    at('ask-suggest').disabled = false;
    field.select();
  };
  field.value = value ?? '';
  if (value !== null) setTimeout(() => field.select());
  return await run(dialog) === 'ok' ? (value === null ? true : field.value) : null;
}

export async function askKey() {
  if (at('key-dialog').open) return false;
  if (await run(at('key-dialog')) !== 'use') return false;
  setKey(at('key').value.trim());
  at('key').value = '';
  return true;
}

// The fields of POST /v1/sessions, or null.
export async function askNew() {
  const dialog = at('new-dialog');
  at('new-error').textContent = '';
  let fields = null;
  const check = event => {
    event.preventDefault();
    try {
      const tools = at('new-tools').value.trim();
      fields = {effort: at('new-effort').value};
      if (at('new-system').value.trim()) fields.system = at('new-system').value;
      if (tools) {
        fields.tools = JSON.parse(tools);
        if (!Array.isArray(fields.tools)) throw new Error('Tools must be a JSON list.');
      }
      dialog.close('create');
    } catch (error) {
      fields = null;
      at('new-error').textContent = error instanceof SyntaxError ? `The tools are not JSON: ${error.message}` : error.message;
    }
  };
  at('new-create').addEventListener('click', check);
  const answer = await run(dialog);
  at('new-create').removeEventListener('click', check);
  return answer === 'create' ? fields : null;
}

export function setUpDialogs(keys) {
  for (const name of ['new', 'ask']) at(`${name}-cancel`).addEventListener('click', () => at(`${name}-dialog`).close(''));
  at('keys').replaceChildren(...keys.flatMap(([key, what]) => [el('dt', {}, ...key.split(' ').map(k => el('kbd', {}, k))), el('dd', {}, what)]));
  at('help').addEventListener('click', () => at('help-dialog').showModal());
}
