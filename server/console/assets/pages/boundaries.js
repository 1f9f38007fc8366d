import {html, useEffect, useRef, useState} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Form, Loading, bytes, number, opens, rate, time, useLoad} from '../ui.js';
import {go} from '../app.js';
import {current, listen} from '../nodes.js';

const active = boundary => boundary.status === 'BOUNDARY_LIFECYCLE_STATUS_ACTIVE';

async function load(signal) {
  const {boundaries} = await call('Admin/ListBoundaries', {}, {signal});
  return Promise.all(boundaries.map(async boundary => active(boundary)
    ? {...boundary, ...await call('EventStore/ListIndexes', {boundary: boundary.name}, {signal})} : boundary));
}

// useLatest reads the last event of each boundary again when the number of its events has changed.
function useLatest(boundaries, numbers) {
  const [latest, set] = useState({});
  const counts = useRef({});
  useEffect(() => {
    for (const {name} of boundaries.filter(active)) {
      const count = numbers?.get(name)?.events;
      if (count === undefined || counts.current[name] === count) continue;
      counts.current[name] = count;
      call('EventStore/GetEvents', {boundary: name, count: 1, direction: 'DESC'}).then(
        page => set(before => ({...before, [name]: page.events[0]})),
        () => { counts.current[name] = undefined; }); // the next poll tries again
    }
  }, [boundaries, numbers]);
  return latest;
}

function Row({boundary, numbers, last}) {
  const shown = (value, text) => value === undefined ? '–' : text(value);
  return html`<tr ...${opens(() => go('events', {boundary: boundary.name}))}>
    <td><a href=${'#/events?boundary=' + encodeURIComponent(boundary.name)}>${boundary.name}</a></td>
    <td class="num">${shown(numbers?.events, number)}</td><td class="num">${shown(numbers?.saves, rate)}</td>
    <td class="num">${shown(numbers?.bytes, bytes)}</td><td class="num">${boundary.indexes?.length ?? '–'}</td>
    <td class="when">${time(last?.dateCreated)}</td><td>${numbers?.publishers.join(', ') || '–'}</td>
    <td>${boundary.lastError || boundary.description}</td></tr>`;
}

export function Boundaries({may}) {
  const state = useLoad(load, []);
  const [{boundaries}, set] = useState(current());
  useEffect(() => listen(set), []);
  const latest = useLatest(state.value || [], boundaries);
  const create = async ({name, description, namespace}) => {
    await call('Admin/CreateBoundary', {name, description, placement: {namespace: namespace || name}});
    state.reload();
    return `${name} exists.`;
  };
  return html`<${Loading} state=${state} />
    ${state.value && html`<div class="scroll" tabindex="0" role="region" aria-label="Boundaries"><table><thead><tr>
      <th>Name</th><th class="num">Events</th><th class="num">Saves / s</th><th class="num">Size</th>
      <th class="num">Indexes</th><th>Last event</th><th>Publisher</th><th>Description</th></tr></thead><tbody>
      ${state.value.map(b => html`<${Row} key=${b.name} boundary=${b} numbers=${boundaries?.get(b.name)}
        last=${latest[b.name]} />`)}</tbody></table></div>`}
    ${may.administer && html`<section class="card"><h2>Create a boundary</h2><${Form} label="Create" onSubmit=${create}>
      <label>Name <input name="name" required maxlength="26" /></label>
      <label>Description <input name="description" /></label>
      <label>PostgreSQL schema <input name="namespace" placeholder="as the name" /></label><//></section>`}`;
}
