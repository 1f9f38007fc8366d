import {html, useEffect, useMemo, useRef, useState} from '../vendor/htm-preact.js';
import {CallError, boundaryNames, call, stream} from '../api.js';
import {fromURL, request, toURL} from '../criteria.js';
import {Chips} from '../chips.js';
import {curl, grpcurl, orisun, Authority} from '../commands.js';
import {Choose, Command, Copy, Dialog, Empty, Form, Loading, Problem, opens, pretty, time, useLoad} from '../ui.js';
import {Graph, related} from '../graph.js';
import {go} from '../app.js';

const pageSize = 50, liveRows = 200; // a page that follows holds the latest ones only
const at = event => `${event.position.transactionId}.${event.position.globalId}`;
const position = text => { const [transaction_id, global_id] = text.split('.'); return {transaction_id, global_id}; };

async function page(boundary, criteria, query, signal) {
  const after = query.get('after'), before = query.get('before');
  const body = {boundary, query: request(criteria), count: pageSize, direction: after ? 'ASC' : 'DESC'};
  if (after || before) body.after_position = position(after || before);
  const {events} = await call('EventStore/GetEvents', body, {signal});
  return after ? events.reverse() : events;
}

// seek finds the first event of a time or later by halving: positions are nearly in the order of times.
async function seek(boundary, moment, signal) {
  const read = more => call('EventStore/GetEvents', {boundary, count: 1, ...more}, {signal});
  const latest = (await read({direction: 'DESC'})).events[0];
  let low = 0, high = Number(latest?.position.globalId ?? 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const {events} = await read({from_position: {transaction_id: middle + 1, global_id: middle}});
    if (events[0] && new Date(events[0].dateCreated) < moment) low = middle + 1; else high = middle;
  }
  return low;
}

// The rows change every 100 ms at most. In a flood, where all of them are new each time, there are only as many as a
// screen has, and they change four times a second: a reader sees no more.
const redraw = 100, redrawAll = 250, screenful = 40;
const reconnect = 2000, longest = 30000; // milliseconds until the next stream, twice as many after each that failed

// isFinal is whether another try of a stream would end in the same error. Without a status it came in the stream.
const isFinal = ({status, code}) => status ? [400, 403, 404].includes(status)
  : ['not_found', 'permission_denied', 'invalid_argument', 'resource_exhausted'].includes(code);

// useLive prepends events as they come, until the page closes. After a flood, rows are all that the page has: events
// before them are missing. An error that would come again ends it until retry.
function useLive(on, boundary, criteria, start) {
  const [{rows, flooded}, set] = useState({rows: []});
  const [open, setOpen] = useState(false);
  const [error, fail] = useState();
  const [tries, again] = useState(0);
  useEffect(() => {
    set({rows: []});
    setOpen(false);
    fail();
    if (!on || !start) return undefined;
    const controller = new AbortController();
    let pending = [], timer = 0, pause = redraw; // pending are the latest events as they came: most are never shown
    const show = () => {
      const flood = pending.length >= liveRows;
      const batch = pending.slice(flood ? -screenful : 0).reverse().map(line => JSON.parse(line));
      pending = [];
      timer = 0;
      pause = flood ? redrawAll : redraw;
      set(before => flood ? {rows: batch, flooded: true}
        : {...before, rows: [...batch, ...before.rows].slice(0, liveRows)});
    };
    const body = {boundary, query: request(criteria), after_position: start};
    let latest; // the last event as it came
    let wait = reconnect, next = 0;
    const opened = () => { setOpen(true); fail(); };
    const receive = lines => {
      wait = reconnect; // heartbeats are empty lines
      if (lines.length === 0) return;
      latest = lines.at(-1);
      pending = [...pending, ...lines.slice(-liveRows)].slice(-liveRows);
      timer ||= setTimeout(show, pause);
    };
    const follow = async () => {
      while (!controller.signal.aborted) {
        if (latest) body.after_position = JSON.parse(latest).position;
        const problem = await stream('EventStore/CatchUpSubscribeToEvents', body, controller.signal, opened, receive)
          .then(() => undefined, error => error);
        if (controller.signal.aborted) return;
        setOpen(false);
        if (problem) fail(problem instanceof CallError ? problem : new Error('The server is away; trying again.'));
        if (problem && isFinal(problem)) return;
        await new Promise(done => { next = setTimeout(done, wait); });
        wait = Math.min(2 * wait, longest);
      }
    };
    follow();
    return () => { controller.abort(); clearTimeout(timer); clearTimeout(next); };
  }, [on, boundary, JSON.stringify(criteria), JSON.stringify(start), tries]);
  return {rows, flooded, open, error, retry: () => again(before => before + 1)};
}

const firstSave = boundary => curl('EventStore/SaveEvents', {boundary, events: [
  {event_id: crypto.randomUUID?.() ?? String(Date.now()), event_type: 'UserRegistered', data: {username: 'alice'}},
]});

function calls(boundary, event) {
  const before = Number(event.position.globalId);
  const body = {boundary, count: 1, from_position: {
    transaction_id: Number(event.position.transactionId), global_id: before}};
  return [
    curl('EventStore/GetEvents', body), grpcurl('EventStore/GetEvents', body),
    orisun(`get ${boundary} --after ${before === 0 ? 'start' : `${before}/${before - 1}`} --count 1`),
  ];
}

// neighbours are the events around one: the store finds no event by its id or metadata.
const around = 300;
async function neighbours(boundary, event, signal) {
  const body = {boundary, count: around, from_position: event.position};
  const read = more => call('EventStore/GetEvents', {...body, ...more}, {signal});
  const [before, after] = await Promise.all([read({direction: 'DESC'}), read({direction: 'ASC'})]);
  return related([...before.events.slice(1), ...after.events], event);
}

function Detail({boundary, event, onSelect, onClose}) {
  const graph = useLoad(signal => neighbours(boundary, event, signal), [at(event)]);
  return html`<${Dialog} title=${event.eventType} onClose=${onClose}>
    <dl class="facts"><dt>Position</dt><dd>${event.position.transactionId}/${event.position.globalId}</dd>
      <dt>Event id</dt><dd>${event.eventId}</dd><dt>Saved</dt><dd>${time(event.dateCreated)}</dd></dl>
    <h3>Data <${Copy} text=${event.data} /></h3><pre class="json" tabindex="0">${pretty(event.data)}</pre>
    <h3>Metadata</h3><pre class="json" tabindex="0">${pretty(event.metadata)}</pre>
    ${graph.value?.length > 1 && html`<h3>Same save, causes and effects</h3>
      <${Graph} nodes=${graph.value} center=${event} onSelect=${onSelect} />`}
    <${Loading} state=${graph} />
    <h3>Read it from a shell</h3>${calls(boundary, event).map(text =>
      html`<${Command} text=${text} program=${text.split(' ')[0]} />`)}
    <${Authority} />
  <//>`;
}

export function Events({may, query}) {
  const names = useLoad(signal => boundaryNames(may, signal), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const text = query.toString();
  const criteria = useMemo(() => fromURL(query), [text]);
  const live = !query.has('after') && !query.has('before') && query.get('live') !== 'off';
  const [selected, select] = useState(null);
  const state = useLoad(async signal =>
    boundary ? page(boundary, criteria, query, signal) : undefined, [boundary, text]);
  const ready = state.value && !state.loading;
  const start = useRef(null);
  start.current = ready ? (state.value[0] ? position(at(state.value[0])) : {transaction_id: -1, global_id: -1}) : null;
  const {rows, flooded, open, error, retry} = useLive(live, boundary, criteria, start.current);
  const events = live ? [...rows, ...(!flooded && state.value || [])].slice(0, liveRows) : state.value;
  const change = changes => go('events', {boundary, ...changes}, query);
  const filter = next => {
    const to = new URLSearchParams(query);
    toURL(to, next);
    to.delete('after');
    to.delete('before');
    go('events', {boundary}, to);
  };
  const jump = async ({to}, signal) => {
    const number = /^\d+$/.test(to);
    if (!number && Number.isNaN(Date.parse(to))) {
      throw new Error('Write a global id, or a time such as 2026-11-30 12:00.');
    }
    const gid = number ? Number(to) : await seek(boundary, new Date(to), signal);
    change({after: gid === 0 ? '-1.-1' : `${gid}.${gid - 1}`, before: ''});
  };
  return html`<div class="bar"><${Choose} names=${names} value=${boundary}
        onChange=${name => go('events', {boundary: name})} />
      <button aria-pressed=${live} onClick=${() => change({live: live ? 'off' : '', after: '', before: ''})}>
        ${live ? (open ? '● Live – pause' : '○ Live …') : 'Follow live'}</button>
      <details><summary>Jump</summary><${Form} label="Go" cancellable onSubmit=${jump}>
        <label>Global id or time <input name="to" required placeholder="1200 or 2026-11-30 12:00" /></label><//>
      </details></div>
    <${Chips} criteria=${criteria} onChange=${filter} />
    <${Loading} state=${state} />
    ${error && html`<div class="bar paging"><${Problem} error=${error} />
      <button onClick=${retry}>Try again</button></div>`}
    ${events?.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Events">
      <table class="events"><thead><tr>
        <th class="num">Global id</th><th>Type</th><th>Data</th><th>Saved</th></tr></thead><tbody>
      ${events.map(e => html`<tr key=${at(e)} ...${opens(() => select(e))}>
        <td class="num">${e.position.globalId}</td><td>${e.eventType}</td>
        <td class="data"><code>${e.data.slice(0, 300)}</code></td>
        <td class="when">${time(e.dateCreated)}</td></tr>`)}</tbody></table></div>
      <nav class="bar" aria-label="Paging">
        <button disabled=${live} onClick=${() => change({before: '', after: at(events[0])})}>← Newer</button>
        <button onClick=${() => change({after: '', before: at(events.at(-1))})}>Older →</button>
        ${!live && html`<button onClick=${() => change({after: '', before: '', live: ''})}>Latest</button>`}</nav>`}
    ${ready && events.length === 0 && (criteria.length > 0 || query.has('after') || query.has('before')
      ? html`<${Empty} title="No event here"><p>No event matches on this page.</p>
          <button onClick=${() => go('events', {boundary})}>Show the latest of all</button><//>`
      : html`<${Empty} title="No events yet"><p>Save the first one. It appears here by itself.</p>
          <${Command} text=${firstSave(boundary)} program="curl" /><${Authority} /><//>`)}
    ${selected && html`<${Detail} boundary=${boundary} event=${selected} onSelect=${select}
      onClose=${() => select(null)} />`}`;
}
