import {html, useEffect, useMemo, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {fromURL, request, toURL} from '../criteria.js';
import {Chips} from '../chips.js';
import {Choose, Command, Empty, Loading, useLoad} from '../ui.js';
import {go} from '../app.js';
import {Authority} from '../commands.js';
import {Explained} from '../explain.js';
import {programs} from '../programs.js';

function Code({texts}) {
  const [chosen, choose] = useState('Go');
  return html`<div class="bar" role="group" aria-label="Language">
      ${Object.keys(texts).map(name => html`<button key=${name} aria-pressed=${name === chosen}
        onClick=${() => choose(name)}>${name}</button>`)}</div>
    <${Command} text=${texts[chosen]} /><${Authority} />`;
}

const listed = 50;
const written = position => `${position.transactionId}/${position.globalId}`;

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
      </p><ol class="plain" aria-label="Conflicting events">
        ${events.slice(0, listed).map(e => html`<li key=${e.eventId}>
          <span class="muted">${written(e.position)}</span> ${e.eventType}</li>`)}</ol>`}</section>`;
}

export function Playground({may, query}) {
  const names = useLoad(signal => boundaryNames(may, signal), []);
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
  return html`<div class="bar"><${Choose} names=${names} value=${boundary}
        onChange=${name => go('playground', {boundary: name}, query)} /></div>
    <${Chips} criteria=${criteria} onChange=${filter} /><${Loading} state=${state} />
    ${criteria.length === 0 && html`<${Empty} title="Compose a context"><p>A context is what a decision read: add
      criteria above, such as type:UserRegistered and username=alice.</p><//>`}
    ${explained && html`<div class="charts">
        <section class="card"><h2>How it is found</h2>
          <${Explained} explained=${explained} criteria=${criteria} boundary=${boundary} /></section>
        <section class="card"><h2>The context</h2>
          <p>${events.length === 50 ? 'The latest 50 events' : `${events.length} events`}.
            ${' '}Position: <strong>${last ? written(last) : 'none'}</strong>.</p>
          <ol class="plain">${events.slice(0, 10).map(e => html`<li key=${e.eventId}>
            <span class="muted">${e.position.globalId}</span> ${e.eventType}</li>`)}</ol></section></div>
      <${Expected} key=${boundary + text} boundary=${boundary} criteria=${criteria} last=${last} />
      <section class="card"><h2>Save under this context</h2>
        <${Code} texts=${programs(boundary, criteria, last)} /></section>`}`;
}
