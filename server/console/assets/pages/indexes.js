import {html, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {Choose, Dialog, Empty, Form, Loading, Problem, bytes, number, time, useLoad} from '../ui.js';
import {go} from '../app.js';

const fields = index => index.fields.map(f => f.jsonKey).join(', ');

function State({index, scans}) {
  if (index.state !== 'INDEX_STATE_READY') return 'Building';
  return Number(scans) === 0
    ? html`<span class="badge warn">Unused</span>` : html`<span class="badge good">Ready</span>`;
}

export function Indexes({may, query}) {
  const names = useLoad(() => boundaryNames(may), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const state = useLoad(async signal =>
    boundary ? call('EventStore/ListIndexes', {boundary}, {signal}) : undefined, [boundary]);
  const [building, build] = useState({});
  const [dropping, drop] = useState(null);
  const create = async definition => {
    const progress = setInterval(async () => {
      const {index} = await call('EventStore/GetIndex', {boundary, name: definition.name}).catch(() => ({}));
      if (index?.progress) build({name: definition.name, text: `${index.progress.phase} ${index.progress.percent} %`});
    }, 1000);
    build({name: definition.name, text: 'creating …'});
    try { await call('EventStore/CreateIndex', {...definition, boundary}); build({}); state.reload(); }
    catch (error) { build({error}); }
    finally { clearInterval(progress); }
  };
  const own = may.index(boundary), {indexes = [], usage = []} = state.value || {};
  const advice = (state.value?.advice || []).filter(a => Number(a.count) > 0); // none: the last index of it was dropped
  return html`<div key="choose" class="bar"><${Choose} names=${names.value ?? null} value=${boundary}
        onChange=${name => go('indexes', {boundary: name})} /></div>
    <${Loading} state=${state} /><${Problem} error=${building.error} />
    ${building.name && html`<p class="busy" role="status">${building.name}: ${building.text}</p>`}
    ${advice.length > 0 && html`<section key="advice" class="card"><h2>Advice</h2><ul class="plain">
      ${advice.map(a => html`<li key=${a.create.name} class="bar">
        <span>Criteria on <strong>${a.keys.join(', ')}</strong> read all events: ${number(a.count)} times
          ${' '}since ${time(a.since)}.</span>
        ${own && html`<button class="primary" disabled=${!!building.name}
          onClick=${() => create(a.create)}>Create ${a.create.name}</button>`}</li>`)}</ul></section>`}
    ${indexes.length > 0 && html`<div key="indexes" class="scroll" tabindex="0" role="region" aria-label="Indexes">
      <table><thead><tr><th>Name</th><th>Fields</th><th class="num">Size</th><th class="num">Used</th><th>State</th>
        <th>Action</th></tr></thead><tbody>
      ${indexes.map((index, i) => html`<tr key=${index.name} tabindex="0">
        <td>${index.name}</td><td>${fields(index)}</td>
        <td class="num">${bytes(usage[i]?.sizeBytes ?? 0)}</td><td class="num">${number(usage[i]?.scans ?? 0)}</td>
        <td><${State} index=${index} scans=${usage[i]?.scans} /></td>
        <td>${own && html`<button onClick=${() => drop(index.name)}
          aria-label=${'Drop ' + index.name}>Drop</button>`}</td></tr>`)}</tbody></table></div>`}
    ${state.value && indexes.length === 0 && html`<${Empty} title="No indexes"><p>Reads by a field of the data are
      fast with an index. Create one below, or read events first: fields without an index are advised here.</p><//>`}
    ${own && html`<section key="create" class="card"><h2>Create an index</h2><${Form} label="Create"
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
      }}><label>Name <input name="name" required autocomplete="off" /></label><//><//>`}`;
}
