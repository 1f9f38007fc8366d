import {html, useMemo, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {fromURL, label, request, toURL} from '../criteria.js';
import {Chips} from '../chips.js';
import {Choose, Command, Empty, Loading, number, rate, useLoad} from '../ui.js';
import {go} from '../app.js';
import {grpc, tls} from '../addresses.js';

const quote = JSON.stringify;
const criterionInGo = tags => tags.slice(1).reduce((text, tag) => `${text}.Where(${quote(tag.key)}, ${quote(tag.value)})`,
  `client.Where(${quote(tags[0].key)}, ${quote(tags[0].value)})`);

// code is a save under the context, by language.
function code(boundary, criteria, last) {
  const body = JSON.stringify({boundary, query: {
    expected_position: last ?? {transactionId: '-1', globalId: '-1'}, ...request(criteria)},
    events: [{event_id: 'CHOOSE-ONE', event_type: 'TYPE', data: {}}]}, null, 2);
  const url = location.origin + '/orisun.EventStore/SaveEvents';
  const at = last ? `{TransactionID: ${last.transactionId}, GlobalID: ${last.globalId}}` : '{}';
  return {
    Go: `c, err := client.Dial(${quote(`${tls ? 'grpcs' : 'grpc'}://USERNAME:PASSWORD@${grpc()}`)}) // github.com/oexza/orisun/client
if err != nil {
	return err
}
context := client.Any(${criteria.map(criterionInGo).join(', ')})
_, err = c.Save(ctx, ${quote(boundary)}, client.IfUnchanged(context, client.Position${at}),
	client.NewEvent{Type: "TYPE", Data: map[string]any{}})
if errors.Is(err, client.ErrConflict) {
	// Read the context again, and decide again.
}`,
    Node: `const answer = await fetch(${quote(url)}, {
  method: 'POST',
  headers: {'Content-Type': 'application/json', Authorization: 'Basic ' + btoa('USERNAME:PASSWORD')},
  body: JSON.stringify(${body.replaceAll('\n', '\n  ')}),
});
if (answer.status === 409) { /* Read the context again, and decide again. */ }`,
    Python: `import base64, urllib.request

request = urllib.request.Request(${quote(url)}, method="POST", headers={
    "Content-Type": "application/json",
    "Authorization": "Basic " + base64.b64encode(b"USERNAME:PASSWORD").decode(),
}, data=r"""${body}""".encode())
urllib.request.urlopen(request)  # HTTPError 409: read the context again, and decide again`,
    JSON: body,
  };
}

function Code({texts}) {
  const [chosen, choose] = useState('Go');
  return html`<div class="bar" role="group" aria-label="Language">${Object.keys(texts).map(name => html`<button key=${name}
    aria-pressed=${name === chosen} onClick=${() => choose(name)}>${name}</button>`)}</div><${Command} text=${texts[chosen]} />`;
}

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
      <section class="card"><h2>Save under this context</h2>
        <${Code} texts=${code(boundary, criteria, last)} /></section>`}`;
}
