import {html, useEffect, useMemo, useRef, useState} from '../vendor/htm-preact.js';
import {CallError, call, stream} from '../api.js';
import {Choose, NoBoundary, useBoundary} from '../boundary.js';
import {Chips} from '../chips.js';
import {Authority, curl} from '../commands.js';
import {fromURL, request, toURL} from '../criteria.js';
import {EventDialog} from '../event.js';
import {Command, Empty, Form, Loading, Problem, opens, time, useLoad} from '../ui.js';
import {go} from '../app.js';

const pageSize = 50, liveRows = 200; // a page that follows holds the latest ones only
const widest = 150; // characters of an event's data that a row has room for
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

// New rows are shown every 100 ms. When more of them come than a reader can see, the page reads the latest ones four
// times a second instead of following a stream, until fewer come than a screen has.
const redraw = 100, flood = 100, skimming = 250, screenful = 40; // milliseconds, rows, milliseconds, rows
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
    const controller = new AbortController(), {signal} = controller;
    const wanted = {boundary, query: request(criteria)};
    let after = start, latest; // where the next stream begins, unless an event came as a line since
    let pending = [], timer = 0, wait = reconnect, next = 0, flooded = false, following;
    const sleep = milliseconds => new Promise(done => { next = setTimeout(done, milliseconds); });
    const opened = () => { setOpen(true); fail(); };
    const show = () => {
      timer = 0;
      flooded = pending.length > flood;
      if (flooded) following.abort();
      else {
        const batch = pending.reverse().map(line => JSON.parse(line));
        set(before => ({...before, rows: [...batch, ...before.rows].slice(0, liveRows)}));
      }
      pending = [];
    };
    const receive = lines => {
      wait = reconnect; // heartbeats are empty lines
      if (lines.length === 0 || flooded) return;
      latest = lines.at(-1);
      if (pending.length <= flood) pending.push(...lines);
      timer ||= setTimeout(show, redraw);
    };
    const read = () => {
      if (latest) after = JSON.parse(latest).position;
      latest = undefined;
      following = new AbortController();
      return stream('EventStore/CatchUpSubscribeToEvents', {...wanted, after_position: after},
        AbortSignal.any([signal, following.signal]), opened, receive);
    };
    const skim = async () => {
      for (let seen; flooded; await sleep(skimming)) {
        const {events} = await call('EventStore/GetEvents', {...wanted, direction: 'DESC', count: screenful}, {signal});
        opened();
        wait = reconnect;
        after = events[0].position;
        latest = undefined;
        set({rows: events, flooded: true});
        flooded = !events.some(event => at(event) === seen);
        seen = at(events[0]);
      }
    };
    const follow = async () => {
      for (;;) {
        const skimmed = flooded;
        const problem = await (skimmed ? skim() : read()).then(() => undefined, error => error);
        if (signal.aborted) return;
        if (skimmed !== flooded) continue; // the flood begins or ends
        setOpen(false);
        if (problem) fail(problem instanceof CallError ? problem : new Error('The server is away; trying again.'));
        if (problem && isFinal(problem)) return;
        await sleep(wait);
        if (signal.aborted) return;
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

export function Events({may, query}) {
  const chosen = useBoundary({may, query}), boundary = chosen.name;
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
  return html`<div class="bar"><${Choose} of=${chosen}
        onChange=${name => go('events', {boundary: name})} />
      <button onClick=${() => change({live: live ? 'off' : '', after: '', before: ''})}>
        ${live ? 'Pause' : 'Follow live'}</button>
      <details><summary>Jump</summary><${Form} label="Go" cancellable onSubmit=${jump}>
        <label>Global id or time <input name="to" required placeholder="1200 or 2026-11-30 12:00" /></label><//>
      </details>
      ${live && html`<span class=${open ? 'state good' : 'state muted'} role="status">
        ${open ? '● Live' : '○ Connecting …'}</span>`}</div>
    <${Chips} criteria=${criteria} onChange=${filter} />
    <${Loading} state=${state} /><${NoBoundary} of=${chosen} may=${may} />
    ${error && html`<div class="bar paging"><${Problem} error=${error} />
      <button onClick=${retry}>Try again</button></div>`}
    ${events?.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Events">
      <table class="events"><thead><tr>
        <th class="num">Global id</th><th>Type</th><th>Data</th><th>Saved</th></tr></thead><tbody>
      ${events.map(e => html`<tr key=${at(e)} ...${opens(() => select(e))}>
        <td class="num">${e.position.globalId}</td><td>${e.eventType}</td>
        <td class="data"><code>${e.data.slice(0, widest)}</code></td>
        <td class="when">${time(e.dateCreated)}</td></tr>`)}</tbody></table></div>
      <nav class="bar" aria-label="Paging">
        <button disabled=${live} onClick=${() => change({before: '', after: at(events[0])})}>← Newer</button>
        <button onClick=${() => change({after: '', before: at(events.at(-1))})}>Older →</button></nav>`}
    ${ready && events.length === 0 && (criteria.length > 0 || query.has('after') || query.has('before')
      ? html`<${Empty} title="No event here"><p>${criteria.length > 0 ? 'No event matches the filter.'
          : 'The events end here.'}</p>
          <button onClick=${() => go('events', {boundary})}>Show the latest of all</button><//>`
      : html`<${Empty} title="No events yet"><p>Save the first one. It appears here by itself.</p>
          <${Command} text=${firstSave(boundary)} program="curl" /><${Authority} /><//>`)}
    ${selected && html`<${EventDialog} boundary=${boundary} event=${selected} onSelect=${select}
      onClose=${() => select(null)} />`}`;
}
