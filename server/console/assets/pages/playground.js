import {html, useMemo} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {fromURL, label, request, toURL} from '../criteria.js';
import {Chips} from '../chips.js';
import {Choose, Command, Empty, Loading, number, rate, useLoad} from '../ui.js';
import {go} from '../app.js';

const code = (boundary, criteria, last) => JSON.stringify({boundary, query: {
  expected_position: last ?? {transaction_id: -1, global_id: -1}, ...request(criteria)},
  events: [{event_id: 'CHOOSE-ONE', event_type: 'TYPE', data: {}}]}, null, 2);

function Scan({scan, criteria}) {
  const read = Number(scan.events) + Number(scan.filtered);
  return html`<li class="scan"><div><span class=${scan.served ? 'badge good' : 'badge bad'}>${scan.served ? 'Index' : 'No index'}</span>
      <code>${scan.index}</code></div>
    <p class="muted">${(scan.criteria || []).map(n => criteria[n - 1]?.map(label).join(' and ')).join(' or ') || 'all events'}</p>
    <meter min="0" max=${Math.max(1, read)} value=${scan.events} aria-label="Share of read events that match"></meter>
    <p>${number(scan.events)} events found, ${number(scan.filtered)} thrown away, ${number(scan.buffers)} buffers</p></li>`;
}

export function Playground({may, query}) {
  const names = useLoad(() => boundaryNames(may), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const text = query.toString();
  const criteria = useMemo(() => fromURL(query), [text]);
  const state = useLoad(async signal => {
    if (!boundary || criteria.length === 0) return null;
    const page = {boundary, query: request(criteria), direction: 'DESC', count: 50};
    const [{events}, explained] = await Promise.all([
      call('EventStore/GetEvents', page, {signal}), call('EventStore/Explain', {get_events: page}, {signal})]);
    return {events, explained};
  }, [boundary, text]);
  const filter = next => { const to = new URLSearchParams(query); toURL(to, next); go('playground', {boundary}, to); };
  const {events, explained} = state.value || {};
  const last = events?.[0]?.position;
  return html`<div class="bar"><${Choose} names=${names.value ?? null} value=${boundary} onChange=${name => go('playground', {boundary: name}, query)} /></div>
    <${Chips} criteria=${criteria} onChange=${filter} /><${Loading} state=${state} />
    ${criteria.length === 0 && html`<${Empty} title="Compose a context"><p>A context is what a decision read: add criteria above,
      such as type:UserRegistered and username=alice.</p><//>`}
    ${explained && html`<div class="charts"><section class="card"><h2>How it is found</h2><ul class="plain">
        ${explained.scans.map(scan => html`<${Scan} scan=${scan} criteria=${criteria} />`)}</ul>
        <p class="muted">${rate(explained.planningMs)} ms to plan, ${rate(explained.executionMs)} ms to run, ${number(explained.buffers)} buffers</p></section>
      <section class="card"><h2>The context</h2><p>${events.length === 50 ? 'The latest 50 events' : `${events.length} events`}.
        Position: <strong>${last ? `${last.transactionId}/${last.globalId}` : 'none'}</strong>.
        A save that expects this position conflicts with any later event that matches.</p>
        <ol class="plain">${events.slice(0, 10).map(e => html`<li key=${e.eventId}><span class="muted">${e.position.globalId}</span> ${e.eventType}</li>`)}</ol></section></div>
      <section class="card"><h2>Save under this context</h2><p class="muted">The request of EventStore/SaveEvents:</p>
        <${Command} text=${code(boundary, criteria, last)} /></section>`}`;
}
