// A small, safe reading of Markdown: text in, DOM out, nothing is ever parsed as HTML. Blocks that did not change keep
// their elements, so a streamed answer does not flicker and a selection in it survives.
import {el} from './dom.js';

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;

// The text cut into blocks: [{kind, text, ...}].
export function blocksOf(text) {
  const lines = text.split('\n');
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    if (line.trim() === '') { ++i; continue; }
    const fence = FENCE.exec(line);
    if (fence) {
      const body = [];
      let closed = false;
      for (++i; i < lines.length && !closed; ++i) {
        closed = lines[i].trim().startsWith(fence[1]) && lines[i].trim().replaceAll(fence[1][0], '') === '';
        if (!closed) body.push(lines[i]);
      }
      blocks.push({kind: 'code', language: fence[2], text: body.join('\n'), closed});
      continue;
    }
    const heading = /^ {0,3}(#{1,6}) +(.*?)#* *$/.exec(line);
    if (heading) { blocks.push({kind: 'heading', level: heading[1].length, text: heading[2]}); ++i; continue; }
    if (RULE.test(line)) { blocks.push({kind: 'rule', text: ''}); ++i; continue; }
    const take = more => {
      const body = [];
      while (i < lines.length && more(lines[i], body.length)) body.push(lines[i++]);
      return body.join('\n');
    };
    if (/^ {0,3}>/.test(line)) {
      blocks.push({kind: 'quote', text: take(l => /^ {0,3}>/.test(l)).replace(/^ {0,3}> ?/gm, '')});
    } else if (ITEM.test(line)) {
      blocks.push({kind: 'list', text: take((l, n) => n === 0 || ITEM.test(l) || /^ +\S/.test(l))});
    } else if (line.includes('|') && /^ *\|?( *:?-+:? *\|)+( *:?-+:? *)?$/.test(lines[i + 1] ?? '')) {
      blocks.push({kind: 'table', text: take(l => l.includes('|'))});
    } else {
      const plain = l => l.trim() !== '' && !FENCE.test(l) && !/^ {0,3}(#{1,6} |>)/.test(l) && !ITEM.test(l);
      blocks.push({kind: 'paragraph', text: take((l, n) => n === 0 || plain(l))});
    }
  }
  return blocks;
}

const INLINE = new RegExp([
  /(`+)([\s\S]*?[^`])\1(?!`)/,                            // 1, 2: code
  /\*\*(?=\S)([\s\S]*?\S)\*\*/,                           // 3: strong
  /(?<![\w*])\*(?=[^\s*])([\s\S]*?[^\s*])\*(?!\*)/,       // 4: emphasis
  /(?<!\w)_(?=[^\s_])([\s\S]*?[^\s_])_(?!\w)/,            // 5: emphasis
  /\[([^\]\n]+)\]\((https?:\/\/[^\s)]+|mailto:[^\s)]+)\)/,  // 6, 7: link
  /(https?:\/\/[^\s<>()"']*[^\s<>()"'.,;:!?])/,           // 8: address
].map(r => r.source).join('|'), 'g');

function link(text, address) {
  return el('a', {href: address, rel: 'noopener noreferrer nofollow', target: '_blank'}, text);
}

export function inline(text) {
  const out = [];
  let done = 0;
  for (const m of text.matchAll(INLINE)) {
    if (m.index > done) out.push(text.slice(done, m.index));
    if (m[2] !== undefined) out.push(el('code', {}, m[2]));
    else if (m[3] !== undefined) out.push(el('strong', {}, inline(m[3])));
    else if (m[4] !== undefined || m[5] !== undefined) out.push(el('em', {}, inline(m[4] ?? m[5])));
    else if (m[6] !== undefined) out.push(link(m[6], m[7]));
    else out.push(link(m[8], m[8]));
    done = m.index + m[0].length;
  }
  if (done < text.length) out.push(text.slice(done));
  return out;
}

function list(text) {
  const items = [];
  let ordered = false, start = 1, indent = 0;
  for (const line of text.split('\n')) {
    const m = ITEM.exec(line);
    if (m && (items.length === 0 || m[1].length <= indent)) {
      if (items.length === 0) {
        indent = m[1].length;
        ordered = /\d/.test(m[2]);
        start = parseInt(m[2], 10) || 1;
      }
      items.push([m[3]]);
    } else {
      items.at(-1).push(line);
    }
  }
  const cut = lines => {
    const step = Math.min(...lines.filter(l => l.trim()).map(l => l.length - l.trimStart().length));
    return lines.map(l => l.slice(Number.isFinite(step) ? step : 0)).join('\n');
  };
  return el(ordered ? 'ol' : 'ul', ordered && start !== 1 ? {start: String(start)} : {}, items.map(([first, ...more]) =>
    el('li', {}, inline(first), more.length ? blocksOf(cut(more)).map(render) : null)));
}

function table(text) {
  const cells = line => line.trim().replace(/^\||\|$/g, '').split('|').map(c => c.trim());
  const [head, , ...rows] = text.split('\n').map(cells);
  return el('div.scroll', {tabindex: '0'}, el('table', {},
    el('thead', {}, el('tr', {}, head.map(c => el('th', {scope: 'col'}, inline(c))))),
    el('tbody', {}, rows.map(r => el('tr', {}, r.map(c => el('td', {}, inline(c))))))));
}

export function codeBlock(text, language = '') {
  const copy = el('button.small', {type: 'button', 'aria-label': 'Copy this code', onclick: async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy'; }, 1500);
  }}, 'Copy');
  return el('figure.code', {}, el('figcaption', {}, el('span', {}, language), copy), el('pre', {tabindex: '0'}, el('code', {}, text)));
}

function render(block) {
  switch (block.kind) {
    case 'code': return codeBlock(block.text, block.language);
    case 'heading': return el(`h${Math.min(block.level + 2, 6)}`, {}, inline(block.text));
    case 'rule': return el('hr');
    case 'quote': return el('blockquote', {}, blocksOf(block.text).map(render));
    case 'list': return list(block.text);
    case 'table': return table(block.text);
    default: return el('p', {}, inline(block.text));
  }
}

// Makes `box` show `text`; keeps the elements of leading blocks that are as they were.
export function show(box, text) {
  const blocks = blocksOf(text);
  const keys = blocks.map(b => JSON.stringify(b));
  const had = box.blockKeys ?? [];
  let same = 0;
  while (same < keys.length && same < had.length && keys[same] === had[same]) ++same;
  while (box.childNodes.length > same) box.lastChild.remove();
  box.append(...blocks.slice(same).map(render));
  box.blockKeys = keys;
}
