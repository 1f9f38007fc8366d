import {html, useEffect, useRef, useState} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Filter, Form, Loading, Paging, bytes, number, opens, rate, time, useLoad, usePages} from '../ui.js';
import {go} from '../app.js';
import {current, listen} from '../nodes.js';

const active = boundary => boundary.status === 'BOUNDARY_LIFECYCLE_STATUS_ACTIVE';

const statusOf = ({status}) => status.replace('BOUNDARY_LIFECYCLE_STATUS_', '').toLowerCase();

const load = async signal => (await call('Admin/ListBoundaries', {}, {signal})).boundaries;

const parallel = 3, apart = 10000; // reads in flight, and milliseconds between two of a boundary

// useLatest reads the last event of each boundary again when the number of its events has changed, the boundary that
// was not read for the longest time first.
function useLatest(boundaries, numbers) {
  const [latest, set] = useState({});
  const {current: reads} = useRef({running: 0, due: [], last: {}}); // last: when a boundary was read, at which count
  const start = () => { while (reads.running < parallel && reads.due.length > 0) read(reads.due.shift()); };
  const read = async ({name, count}) => {
    reads.running++;
    reads.last[name] = {at: Date.now(), count};
    try {
      const page = await call('EventStore/GetEvents', {boundary: name, count: 1, direction: 'DESC'},
        {signal: reads.controller.signal});
      set(before => ({...before, [name]: page.events[0]}));
    } catch { reads.last[name].count = undefined; } // a later poll tries again
    reads.running--;
    start();
  };
  useEffect(() => {
    reads.controller = new AbortController();
    return () => { reads.due = []; reads.controller.abort(); };
  }, []);
  useEffect(() => {
    const at = name => reads.last[name]?.at ?? 0;
    reads.due = boundaries.filter(active).map(({name}) => ({name, count: numbers?.get(name)?.events}))
      .filter(({name, count}) => count !== undefined && count !== reads.last[name]?.count &&
        Date.now() - at(name) >= apart)
      .sort((a, b) => at(a.name) - at(b.name));
    start();
  }, [boundaries.map(b => b.name).join(), numbers]);
  return latest;
}

function Row({boundary, numbers, last}) {
  const shown = (value, text) => value === undefined ? '–' : text(value);
  return html`<tr ...${opens(() => go('events', {boundary: boundary.name}))}>
    <td><a href=${'#/events?boundary=' + encodeURIComponent(boundary.name)}>${boundary.name}</a>
      ${!active(boundary) && html` <span class=${boundary.lastError ? 'badge bad' : 'badge'}>
        ${statusOf(boundary)}</span>`}
      ${boundary.lastError && html`<p class="problem">${boundary.lastError}</p>`}</td>
    <td class="num">${shown(numbers?.events, number)}</td>
    <td class="num wide-only">${shown(numbers?.saves, rate)}</td>
    <td class="num wide-only">${shown(numbers?.bytes, bytes)}</td>
    <td class="num wide-only">${active(boundary) ? shown(boundary.indexes, number) : '–'}</td>
    <td class="when">${time(last?.dateCreated)}</td>
    <td class="when wide-only">${numbers?.publishers.join(', ') || '–'}</td>
    <td class="wide-only ellipsis" title=${boundary.description}>${boundary.description}</td></tr>`;
}

export function Boundaries({may}) {
  const state = useLoad(load, []);
  const [{boundaries}, set] = useState(current());
  useEffect(() => listen(set), []);
  const pages = usePages(state.value || [], b => b.name);
  const latest = useLatest(pages.rows, boundaries);
  const create = async ({name, description, namespace}) => {
    await call('Admin/CreateBoundary', {name, description, placement: {namespace: namespace || name}});
    state.reload();
    return `${name} exists.`;
  };
  return html`<${Loading} state=${state} />
    <div class="bar"><${Filter} pages=${pages} label="Find a boundary" /></div>
    ${state.value && html`<div class="scroll" tabindex="0" role="region" aria-label="Boundaries"><table><thead><tr>
      <th>Name</th><th class="num">Events</th><th class="num wide-only">Saves / s</th>
      <th class="num wide-only">Size</th><th class="num wide-only">Indexes</th><th>Last event</th>
      <th class="wide-only">Publisher</th><th class="wide-only">Description</th></tr></thead><tbody>
      ${pages.rows.map(b => html`<${Row} key=${b.name} boundary=${b} numbers=${boundaries?.get(b.name)}
        last=${latest[b.name]} />`)}</tbody></table></div>`}
    <${Paging} pages=${pages} />
    ${may.administer && html`<section class="card"><h2>Create a boundary</h2><${Form} label="Create" onSubmit=${create}>
      <label>Name <input name="name" required maxlength="26" /></label>
      <label>Description <input name="description" /></label>
      <label>PostgreSQL schema <input name="namespace" placeholder="as the name" /></label><//></section>`}`;
}
