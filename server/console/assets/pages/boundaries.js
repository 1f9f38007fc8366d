import {html} from '../vendor/htm-preact.js';
import {call, metrics} from '../api.js';
import {Form, Loading, bytes, number, opens, time, useLoad} from '../ui.js';
import {go} from '../app.js';

async function load(may, signal) {
  const [{boundaries}, series] = await Promise.all([call('Admin/ListBoundaries', {}, {signal}), metrics(signal)]);
  return Promise.all(boundaries.map(async boundary => {
    const of = name => series.find(s => s.name === name && s.labels.orisun_boundary === boundary.name)?.value;
    const row = {...boundary, size: of('orisun_boundary_size_bytes')};
    if (boundary.status !== 'BOUNDARY_LIFECYCLE_STATUS_ACTIVE') return row;
    const name = {boundary: boundary.name};
    const [count, indexes, page] = await Promise.all([
      call('Admin/GetEventCount', name, {signal}), call('EventStore/ListIndexes', name, {signal}),
      call('EventStore/GetEvents', {...name, count: 1, direction: 'DESC'}, {signal})]);
    return {...row, count: count.count, indexes: indexes.indexes.length, last: page.events[0]};
  }));
}

export function Boundaries({may}) {
  const state = useLoad(signal => load(may, signal), []);
  const create = async ({name, description, namespace}) => {
    await call('Admin/CreateBoundary', {name, description, placement: {namespace: namespace || name}});
    state.reload();
    return `${name} exists.`;
  };
  const open = name => go('events', {boundary: name});
  return html`<${Loading} state=${state} />
    ${state.value && html`<div class="scroll" tabindex="0" role="region" aria-label="Boundaries"><table><thead><tr>
      <th>Name</th><th class="num">Events</th><th class="num">Size</th><th class="num">Indexes</th><th>Last event</th><th>Description</th>
      </tr></thead><tbody>
      ${state.value.map(b => html`<tr key=${b.name} ...${opens(() => open(b.name))}>
        <td><a href=${'#/events?boundary=' + encodeURIComponent(b.name)}>${b.name}</a></td>
        <td class="num">${b.count === undefined ? '–' : number(b.count)}</td><td class="num">${b.size === undefined ? '–' : bytes(b.size)}</td>
        <td class="num">${b.indexes ?? '–'}</td><td class="when">${time(b.last?.dateCreated)}</td><td>${b.lastError || b.description}</td></tr>`)}
    </tbody></table></div>`}
    ${may.administer && html`<section class="card"><h2>Create a boundary</h2><${Form} label="Create" onSubmit=${create}>
      <label>Name <input name="name" required maxlength="26" /></label>
      <label>Description <input name="description" /></label>
      <label>PostgreSQL schema <input name="namespace" placeholder="as the name" /></label><//></section>`}`;
}
