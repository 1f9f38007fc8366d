// One event in full.
import {html} from './vendor/htm-preact.js';
import {call} from './api.js';
import {Authority, curl, grpcurl, orisun} from './commands.js';
import {Graph, related} from './graph.js';
import {Command, Copy, Dialog, Loading, pretty, time, useLoad, written} from './ui.js';

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

export function EventDialog({boundary, event, onSelect, onClose}) {
  const graph = useLoad(signal => neighbours(boundary, event, signal), [event.eventId]);
  return html`<${Dialog} title=${event.eventType} onClose=${onClose}>
    <dl class="facts"><dt>Position</dt><dd>${written(event.position)}</dd>
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
