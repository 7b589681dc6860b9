// The context meter: how much of the model's context is used, what of it is cached, and the bytes that costs by kind.
import {at, bytes, count, el} from './dom.js';

// Kinds in the order of the bar, with the words of the glossary.
function kinds(cache) {
  const rows = Object.entries(cache.compressed ?? {}).map(([ratio, n]) =>
    [`compressed rows, ${ratio.replace('ratio_', '')} tokens each`, n]);
  return [['sliding windows', cache.window], ...rows, ['index keys', cache.index_keys],
    ['open compressor windows', cache.open_windows]].filter(([, n]) => n !== undefined);
}

export function showMeter(meter) {
  at('meter').hidden = !meter;
  if (!meter) return;
  const share = meter.tokens / meter.context_length;
  const parts = kinds(meter.cache_bytes);
  const total = meter.cache_bytes.total;
  const cached = meter.cached === null || meter.cached === undefined ? '' : ` · ${count(meter.cached)} cached`;
  at('meter-text').textContent = `${count(meter.tokens)} of ${count(meter.context_length)} tokens${cached} · ` +
    `${bytes(total)} of ${bytes(meter.budget_bytes)}`;
  const bar = at('meter-bar');
  bar.setAttribute('aria-label', `${(share * 100).toFixed(share < 0.01 ? 2 : 0)} % of the context is used`);
  const used = el('span.used');
  used.style.width = `${Math.max(share * 100, meter.tokens > 0 ? 0.6 : 0)}%`;
  const held = el('span.held');
  held.style.width = `${meter.tokens > 0 ? Math.min(meter.cached ?? 0, meter.tokens) / meter.tokens * 100 : 0}%`;
  used.append(held);
  bar.replaceChildren(used);

  const row = (name, value, extra = '') => el('tr', {}, el('th', {scope: 'row'}, name), el('td', {}, value), el('td', {}, extra));
  const rows = parts.map(([name, n], i) => {
    const tr = row(name, bytes(n), `${total > 0 ? Math.round(n / total * 100) : 0} %`);
    tr.firstChild.prepend(el(`span.swatch.kind${i % 5}`, {'aria-hidden': 'true'}));
    return tr;
  });
  const stack = el('span.stack', {'aria-hidden': 'true'}, parts.map(([, n], i) => {
    const part = el(`span.kind${i % 5}`);
    part.style.flexGrow = String(n);
    return part;
  }));
  const kept = meter.kept && meter.kept.limit_bytes ? [
    row('kept in memory, all sessions', bytes(meter.kept.bytes), `of ${bytes(meter.kept.limit_bytes)}`),
    meter.kept.disk_limit_bytes ? row('kept on disk, all sessions', bytes(meter.kept.disk_bytes), `of ${bytes(meter.kept.disk_limit_bytes)}`) : null,
  ] : [];
  at('meter-table').tBodies[0].replaceChildren(
    el('tr', {}, el('td', {colSpan: 3}, stack)), ...rows,
    row('this context', bytes(total), `of ${bytes(meter.budget_bytes)} when full`), ...kept.filter(Boolean));
}
