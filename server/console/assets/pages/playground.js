import {html, useEffect, useMemo, useState} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Choose, NoBoundary, useBoundary} from '../boundary.js';
import {Chips} from '../chips.js';
import {Authority} from '../commands.js';
import {fromURL, request, toURL} from '../criteria.js';
import {EventDialog} from '../event.js';
import {Explained} from '../explain.js';
import {programs} from '../programs.js';
import {Command, Empty, Loading, useLoad, written} from '../ui.js';
import {go} from '../app.js';

function Code({texts}) {
  const [chosen, choose] = useState('Go');
  return html`<div class="bar" role="group" aria-label="Language">
      ${Object.keys(texts).map(name => html`<button key=${name} aria-pressed=${name === chosen}
        onClick=${() => choose(name)}>${name}</button>`)}</div>
    <${Command} text=${texts[chosen]} /><${Authority} />`;
}

const listed = 50, shown = 10; // events of a list, and of the context

// Listed are events by their positions. Each opens in full.
function Listed({boundary, events, title}) {
  const [selected, select] = useState(null);
  return html`<ol class="plain" aria-label=${title}>${events.map(e => html`<li key=${e.eventId}>
      <button class="row" onClick=${() => select(e)}>
        <span class="muted">${written(e.position)}</span> ${e.eventType}</button></li>`)}</ol>
    ${selected && html`<${EventDialog} boundary=${boundary} event=${selected} onSelect=${select}
      onClose=${() => select(null)} />`}`;
}

// Expected lists what a save would conflict with that expects a position: the later events of the context.
function Expected({boundary, criteria, last}) {
  const [text, setText] = useState('');
  const [expected, expect] = useState('');
  const [wrong, setWrong] = useState(false);
  const state = useLoad(async signal => {
    if (!expected) return null;
    const [transaction_id, global_id] = expected.split('/');
    return call('EventStore/GetEvents', {boundary, query: request(criteria), direction: 'ASC', count: listed + 1,
      after_position: {transaction_id, global_id}}, {signal});
  }, [expected, boundary, JSON.stringify(criteria)]);
  useEffect(() => { if (!text && last) setText(written(last)); }, [last]);
  const submit = event => {
    event.preventDefault();
    const position = /^\s*(-?\d+)\s*\/\s*(-?\d+)\s*$/.exec(text);
    setWrong(!position);
    if (!position) return;
    const next = `${position[1]}/${position[2]}`;
    next === expected ? state.reload() : expect(next);
  };
  const events = state.value?.events, many = events?.length > listed ? `more than ${listed}` : events?.length;
  return html`<section class="card"><h2>What a save would conflict with</h2>
    <form onSubmit=${submit}><label>Expected position <input name="expected" value=${text} aria-invalid=${wrong}
      placeholder="12/3, or -1/-1 for none" onInput=${e => setText(e.target.value)} /></label>
      <button>Check</button></form>
    ${wrong && html`<p class="problem" role="alert">Write a position such as 12/3, or -1/-1 for no event.</p>`}
    <${Loading} state=${state} />
    ${events && html`<p role="status">${events.length === 0
        ? `A save that expects ${expected} would not conflict: no event of this context is after it.`
        : `A save that expects ${expected} would conflict with ${many === 1 ? 'this event' : `these ${many} events`}.`}
      </p><${Listed} boundary=${boundary} events=${events.slice(0, listed)} title="Conflicting events" />`}</section>`;
}

export function Playground({may, query}) {
  const chosen = useBoundary({may, query}), boundary = chosen.name;
  const text = query.toString();
  const criteria = useMemo(() => fromURL(query), [text]);
  const state = useLoad(async signal => {
    if (!boundary || criteria.length === 0) return null;
    const page = {boundary, query: request(criteria), direction: 'DESC', count: listed};
    const [{events}, explained] = await Promise.all([
      call('EventStore/GetEvents', page, {signal}), call('EventStore/Explain', {get_events: page}, {signal})]);
    return {events, explained};
  }, [boundary, text]);
  const filter = next => { const to = new URLSearchParams(query); toURL(to, next); go('playground', {boundary}, to); };
  const {events, explained} = state.value || {};
  const here = new URLSearchParams(query);
  here.set('boundary', boundary);
  const last = events?.[0]?.position;
  return html`<div class="bar"><${Choose} of=${chosen}
        onChange=${name => go('playground', {boundary: name}, query)} /></div>
    <${Chips} criteria=${criteria} onChange=${filter} /><${Loading} state=${state} />
    <${NoBoundary} of=${chosen} may=${may} />
    ${boundary && criteria.length === 0 && html`<${Empty} title="Compose a context"><p>A context is what a decision
      read: add criteria above, such as type:UserRegistered and username=alice.</p><//>`}
    ${explained && html`<div class="charts">
        <section class="card"><h2>How it is found</h2>
          <${Explained} explained=${explained} criteria=${criteria} boundary=${boundary} /></section>
        <section class="card"><h2>The context</h2>
          <p>${last ? html`Position <strong>${written(last)}</strong>: a save under this context expects it.`
            : 'No event matches yet. A save under this context expects that none does.'}</p>
          <${Listed} boundary=${boundary} events=${events.slice(0, shown)} title="The context" />
          ${events.length > shown && html`<p class="muted">The latest ${shown} of ${events.length === listed
            ? `${listed} or more` : events.length}. <a href=${'#/events?' + here}>All of them</a></p>`}</section></div>
      <${Expected} key=${boundary + text} boundary=${boundary} criteria=${criteria} last=${last} />
      <section class="card"><h2>Save under this context</h2>
        <${Code} texts=${programs(boundary, criteria, last)} /></section>`}`;
}
