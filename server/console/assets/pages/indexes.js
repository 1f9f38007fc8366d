import {html, useEffect, useState} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Choose, NoBoundary, useBoundary} from '../boundary.js';
import {Dialog, Empty, Form, Loading, Problem, bytes, number, time, useLoad} from '../ui.js';
import {go} from '../app.js';

const fields = index => index.fields.map(f => f.jsonKey).join(', ');

const isReady = index => index.state === 'INDEX_STATE_READY';

// progressOf is PostgreSQL's phase of a build, with how much of it is done. While it waits for others that is nothing.
const progressOf = ({progress}) => !progress?.phase ? 'creating …'
  : progress.phase + (progress.percent > 0 ? ` ${progress.percent}\u00a0%` : ' …');

function State({index, usage}) {
  if (!isReady(index)) return html`<span class="badge">Building</span> ${progressOf(index)}`;
  return Number(usage?.scans ?? 0) > 0 ? html`<span class="badge good">Ready</span>`
    : html`<span class="badge warn">Unused</span>
      ${' '}<span class="wide-only muted">${usage && `since ${time(usage.countedSince)}`}</span>`;
}

// Build is the progress of a build, of any client. Only the client that began it can cancel it.
const Build = ({index, cancel}) => html`<p class="busy" role="status">${index.name}: ${progressOf(index)}
  ${' '}${cancel && html`<button onClick=${cancel}>Cancel</button>`}</p>`;

const whileBuilding = 1000, otherwise = 10000; // milliseconds from an answer to the next poll

export function Indexes({may, query}) {
  const chosen = useBoundary({may, query}), boundary = chosen.name;
  const state = useLoad(async signal =>
    boundary ? call('EventStore/ListIndexes', {boundary}, {signal}) : undefined, [boundary]);
  const [begun, begin] = useState({}); // the build of this page
  const [dropping, drop] = useState(null);
  const create = async definition => {
    const controller = new AbortController();
    begin({boundary, name: definition.name, cancel: () => controller.abort()});
    try {
      await call('EventStore/CreateIndex', {...definition, boundary}, {signal: controller.signal});
      begin({});
    } catch (error) { begin(controller.signal.aborted ? {} : {boundary, error}); }
    state.reload();
  };
  const building = begun.boundary === boundary ? begun : {};
  const own = may.index(boundary), {indexes = [], usage = []} = state.value || {};
  const builds = indexes.filter(index => !isReady(index)); // of other clients, too
  const every = building.name || builds.length > 0 ? whileBuilding : otherwise;
  useEffect(() => { // one poll after the other
    const timer = setTimeout(state.poll, every);
    return () => clearTimeout(timer);
  }, [state.value, state.error, every]);
  const advice = (state.value?.advice || []).filter(a => Number(a.count) > 0); // none: the last index of it was dropped
  return html`<div key="choose" class="bar"><${Choose} of=${chosen}
        onChange=${name => go('indexes', {boundary: name})} /></div>
    ${state.value ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}
    <${NoBoundary} of=${chosen} may=${may} />
    <${Problem} error=${building.error} />
    ${building.name && !builds.some(index => index.name === building.name) &&
      html`<${Build} key=${building.name} index=${building} cancel=${building.cancel} />`}
    ${builds.map(index => html`<${Build} key=${index.name} index=${index}
      cancel=${index.name === building.name && building.cancel} />`)}
    ${advice.length > 0 && html`<section key="advice" class="card"><h2>Advice</h2><ul class="plain">
      ${advice.map(a => html`<li key=${a.create.name} class="bar">
        <span>${`${number(a.count)} ${Number(a.count) === 1 ? 'read' : 'reads'} since ${time(a.since)}`}
          ${' '}had no index for <strong>${a.keys.join(', ')}</strong></span>
        ${own && html`<button class="primary" disabled=${!!building.name}
          onClick=${() => create(a.create)}>Create index ${a.create.name}</button>`}</li>`)}</ul></section>`}
    ${indexes.length > 0 && html`<div key="indexes" class="scroll" tabindex="0" role="region" aria-label="Indexes">
      <table><thead><tr><th>Name</th><th>Fields</th><th class="num wide-only">Size</th>
        <th class="num wide-only">Used</th><th>State</th>
        <th>Action</th></tr></thead><tbody>
      ${indexes.map((index, i) => html`<tr key=${index.name} tabindex="0">
        <td>${index.name}</td><td>${fields(index)}</td>
        <td class="num wide-only">${bytes(usage[i]?.sizeBytes ?? 0)}</td>
        <td class="num wide-only">${number(usage[i]?.scans ?? 0)}</td>
        <td><${State} index=${index} usage=${usage[i]} /></td>
        <td>${own && html`<button onClick=${() => drop(index.name)}
          aria-label=${'Drop ' + index.name}>Drop</button>`}</td></tr>`)}</tbody></table></div>`}
    ${state.value && indexes.length === 0 && html`<${Empty} title="No indexes"><p>Reads by a field of the data are
      fast with an index. Create one below, or read events first: fields without an index are advised here.</p><//>`}
    ${own && boundary && html`<section key="create" class="card"><h2>Create an index</h2><${Form} label="Create"
      onSubmit=${({name, keys}) => create({name, fields: keys.split(',').map(key => ({json_key: key.trim()}))})}>
      <label>Name <input name="name" required /></label>
      <label>Fields <input name="keys" required placeholder="username, email" /></label><//></section>`}
    ${dropping && html`<${Dialog} title=${'Drop ' + dropping} onClose=${() => drop(null)}>
      <p>Criteria that it serves are still answered, more slowly. Type the name to confirm.</p>
      <${Form} label="Drop" danger onSubmit=${async ({name}) => {
        if (name !== dropping) throw new Error(`Type ${dropping}.`);
        await call('EventStore/DropIndex', {boundary, name});
        drop(null);
        state.reload();
      }}><label>Name <input name="name" required autocomplete="off" autofocus /></label><//><//>`}`;
}
