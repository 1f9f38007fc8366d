import {html, useMemo, useState} from '../vendor/htm-preact.js';
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
  return html`<div class="bar"><${Choose} names=${names.value ?? null} value=${boundary}
        onChange=${name => go('playground', {boundary: name}, query)} /></div>
    <${Chips} criteria=${criteria} onChange=${filter} /><${Loading} state=${state} />
    ${criteria.length === 0 && html`<${Empty} title="Compose a context"><p>A context is what a decision read: add
      criteria above, such as type:UserRegistered and username=alice.</p><//>`}
    ${explained && html`<div class="charts">
        <section class="card"><h2>How it is found</h2>
          <${Explained} explained=${explained} criteria=${criteria} boundary=${boundary} /></section>
        <section class="card"><h2>The context</h2>
          <p>${events.length === 50 ? 'The latest 50 events' : `${events.length} events`}.
            ${' '}Position: <strong>${last ? `${last.transactionId}/${last.globalId}` : 'none'}</strong>.
            ${' '}A save that expects this position conflicts with any later event that matches.</p>
          <ol class="plain">${events.slice(0, 10).map(e => html`<li key=${e.eventId}>
            <span class="muted">${e.position.globalId}</span> ${e.eventType}</li>`)}</ol></section></div>
      <section class="card"><h2>Save under this context</h2>
        <${Code} texts=${programs(boundary, criteria, last)} /></section>`}`;
}
