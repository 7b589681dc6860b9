// The native API of docs/sessions-api.md: requests, errors as sentences, and event streams.

const KEY = 'hadal.key';

export class ApiError extends Error {
  // status 0: the server could not be reached.
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setKey(key) { sessionStorage.setItem(KEY, key); }

function headers(extra) {
  const key = sessionStorage.getItem(KEY);
  return {...(key ? {Authorization: `Bearer ${key}`} : {}), ...extra};
}

async function errorOf(response) {
  let message = `The server answered ${response.status}.`;
  try {
    const body = await response.json();
    if (body.error?.message) message = body.error.message;
  } catch { /* not JSON: the status must do */ }
  const wait = response.headers.get('Retry-After');
  return new ApiError(response.status, wait ? `${message} Try again in ${wait} s.` : message);
}

async function ask(method, path, body, {signal, accept} = {}) {
  let response;
  try {
    response = await fetch(path, {
      method, signal,
      headers: headers({...(body === undefined ? {} : {'Content-Type': 'application/json'}), ...(accept ? {Accept: accept} : {})}),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The server cannot be reached. Is it still running?');
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

const json = async (...args) => (await ask(...args)).json();
const of = id => `/v1/sessions/${encodeURIComponent(id)}`;
const query = branch => (branch === undefined || branch === null ? '' : `?branch=${branch}`);

// Splits a stream of server-sent events at any byte. Comments are heartbeats and are dropped.
export class EventParser {
  #rest = '';
  #event = 'message';
  #data = [];
  push(text, emit) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length) emit(this.#event, this.#data.join('\n'));
        this.#event = 'message';
        this.#data = [];
      } else if (line.startsWith('event:')) {
        this.#event = line.slice(6).trim();
      } else if (line.startsWith('data:')) {
        this.#data.push(line.slice(line[5] === ' ' ? 6 : 5));
      }
    }
  }
}

export const api = {
  model: async () => (await json('GET', '/v1/models')).data[0],
  list: after => json('GET', `/v1/sessions?limit=100${after ? `&after=${encodeURIComponent(after)}` : ''}`),
  create: fields => json('POST', '/v1/sessions', fields),
  get: id => json('GET', of(id)),
  rename: (id, title) => json('PATCH', of(id), {title}),
  remove: id => ask('DELETE', of(id)),
  messages: (id, branch) => json('GET', `${of(id)}/messages${query(branch)}`),
  meter: (id, branch) => json('GET', `${of(id)}/meter${query(branch)}`),
  instruct: (id, task) => json('POST', `${of(id)}/instruct`, {task, save: false}),
  branches: async id => (await json('GET', `${of(id)}/branches`)).branches,
  fork: (id, fields) => json('POST', `${of(id)}/fork`, fields),
  rewind: (id, fields) => json('POST', `${of(id)}/rewind`, fields),
  exported: async id => (await ask('GET', `${of(id)}/export`)).blob(),

  // Calls `on(event, data)` for every event; ends when the stream does, rejects when it breaks off.
  async generate(id, fields, on, signal) {
    const response = await ask('POST', `${of(id)}/generate`, {...fields, stream: true}, {signal, accept: 'text/event-stream'});
    const parser = new EventParser();
    const decoder = new TextDecoder();
    let ended = false;
    const emit = (event, data) => {
      const value = JSON.parse(data);
      if (event === 'error') throw new ApiError(response.status, value.error?.message ?? 'The answer failed.');
      ended ||= event === 'done';
      on(event, value);
    };
    const reader = response.body.getReader();
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new ApiError(0, 'The connection broke off. What was generated is kept in the session.');
      }
      if (piece.done) break;
      parser.push(decoder.decode(piece.value, {stream: true}), emit);
    }
    if (!ended) throw new ApiError(0, 'The answer broke off. What was generated is kept in the session.');
  },
};
