import {html, useEffect, useState} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Choose, NoBoundary, useBoundary} from '../boundary.js';
import {Chart} from '../chart.js';
import {Authority, orisun} from '../commands.js';
import {EventDialog} from '../event.js';
import {
  Command, Dialog, Empty, Filter, Loading, MissingNodes, Paging, Problem, number, opens, rate, time, useLoad, usePages,
  written,
} from '../ui.js';
import {go} from '../app.js';

const parkedPage = 50;

const refusals = count => count === 1 ? '1 refusal' : `${number(count)} refusals`;
const times = count => count === 1 ? 'once' : `${number(count)} times`;

// Settle replays or skips one parked event. A skip cannot be undone, so it takes a second click.
function Settle({event, replaying, run}) {
  const [sure, confirm] = useState(false);
  const settle = rpc => run(rpc, {positions: [event.position]});
  return html`<button disabled=${replaying} onClick=${() => settle('Subscriptions/ReplayParked')}>Replay</button>
    ${sure ? html`<button class="danger" onClick=${() => settle('Subscriptions/SkipParked')}>Skip for good</button>`
      : html`<button class="danger" onClick=${() => confirm(true)}>Skip …</button>`}`;
}

// All replays or skips each parked event after a confirmation with their number.
function All({total, onReplay, onSkip}) {
  const [chosen, choose] = useState(null);
  const many = `${number(total)} parked ${Number(total) === 1 ? 'event' : 'events'}`;
  const confirm = run => { choose(null); run(); };
  if (chosen === null) {
    return html`<div class="bar"><button class="primary" onClick=${() => choose('replay')}>Replay all …</button>
      <button class="danger" onClick=${() => choose('skip')}>Skip all …</button></div>`;
  }
  return html`<div class="card" role="group" aria-label="Confirm">
    <p>${chosen === 'skip' ? `Skip all ${many}? They are never delivered again.`
      : `Replay all ${many}? They are delivered again, in order.`} This includes those of other pages.</p>
    <div class="bar">${chosen === 'skip'
      ? html`<button class="danger" onClick=${() => confirm(onSkip)}>Skip ${many}</button>`
      : html`<button class="primary" onClick=${() => confirm(onReplay)}>Replay ${many}</button>`}
      <button onClick=${() => choose(null)}>Cancel</button></div></div>`;
}

function Parked({boundary, name, may, onClose}) {
  const of = {boundary, subscription: name};
  const [pages, setPages] = useState([]); // the positions after which the pages begin; the first has none
  const after = pages.at(-1);
  const state = useLoad(async signal => { // one event more shows that there is a next page
    const page = {...of, after_position: after, count: parkedPage + 1};
    const [{events}, {subscription}] = await Promise.all([call('Subscriptions/ListParked', page, {signal}),
      call('Subscriptions/GetSubscription', {boundary, name}, {signal})]);
    return {events, total: subscription.parked};
  }, [after?.globalId]);
  const [error, fail] = useState();
  const [note, say] = useState();
  const [selected, select] = useState(null);
  const run = (rpc, more, done) => call(rpc, {...of, ...more}).then(({events}) => {
    fail();
    say(done && `${number(events)} ${Number(events) === 1 ? 'event is' : 'events are'} ${done}.`);
    setPages(before => done ? [] : before);
    state.reload();
  }, fail);
  const found = state.value?.events || [], parked = found.slice(0, parkedPage), own = may.index(boundary);
  const total = Number(state.value?.total ?? 0), first = pages.length * parkedPage + 1;
  return html`<${Dialog} title=${`Parked in ${name}`} onClose=${onClose}>
    <${Loading} state=${state} /><${Problem} error=${error} />${note && html`<p class="note" role="status">${note}</p>`}
    ${parked.length > 0 && html`<p class="muted">
      ${`${number(total)} parked in all; ${number(first)} to ${number(first + parked.length - 1)} are shown.`}</p>`}
    ${parked.length === 0 && state.value && html`<p>${pages.length > 0 ? 'No parked event is left on this page.'
      : 'Nothing is parked.'}</p>`}
    ${parked.length === 0 && pages.length > 0 && html`<button onClick=${() => setPages([])}>First page</button>`}
    ${parked.length > 0 && html`<ul class="plain parked">${parked.map(p => html`<li key=${p.event.eventId}>
      <div class="grow"><button class="row" onClick=${() => select(p.event)}><strong>${p.event.eventType}</strong>
          ${' '}<span class="muted">${written(p.event.position)}</span></button>
        ${p.replaying && html` <span class="badge">Replaying</span>`}
        <p>${p.reason || 'Behind a parked event of its key.'}</p>
        <small>${p.refusals > 0 && `refused ${times(p.refusals)}, `}parked ${time(p.parkedAt)}</small></div>
      ${own && html`<${Settle} event=${p.event} replaying=${p.replaying} run=${run} />`}</li>`)}</ul>
      ${(pages.length > 0 || found.length > parkedPage) && html`<nav class="bar" aria-label="Paging">
        <button disabled=${pages.length === 0} onClick=${() => setPages(pages.slice(0, -1))}>← Previous</button>
        <button disabled=${found.length <= parkedPage}
          onClick=${() => setPages([...pages, parked.at(-1).event.position])}>Next →</button></nav>`}
      ${own && html`<${All} total=${total} onReplay=${() => run('Subscriptions/ReplayParked', {}, 'delivered again')}
        onSkip=${() => run('Subscriptions/SkipParked', {all: true}, 'skipped')} />`}`}
    ${selected && html`<${EventDialog} boundary=${boundary} event=${selected} onSelect=${select}
      onClose=${() => select(null)} />`}<//>`;
}

// A poll of many subscriptions costs PostgreSQL and the network more, so that it comes later.
const period = 5000, cheap = 200, gap = 60; // milliseconds, subscriptions, seconds between two points of a line

// Lag draws the lag as the server measured it. The line ends where it did not.
function Lag({samples, loading}) {
  const data = [[], []];
  for (const sample of samples) {
    const at = new Date(sample.measuredAt) / 1000, before = data[0].at(-1);
    if (at - before > gap) { data[0].push((at + before) / 2); data[1].push(null); }
    data[0].push(at);
    data[1].push(Number(sample.events));
  }
  const most = samples.reduce((a, b) => Number(b.events) > Number(a.events) ? b : a, samples[0]);
  return html`<h3>Events behind in the last 15 minutes</h3>
    <${Chart} title="Lag in events" series=${[{label: 'Events', color: '--accent'}]} data=${data} />
    <p class="muted">${most ? `At most ${number(most.events)}, at ${time(most.measuredAt)}` : loading ? 'Loading …'
      : 'This node has not measured it yet: it does so every 5 seconds.'}</p>`;
}

const holderOf = (partition, consumers) => {
  const found = consumers.find(c => c.consumerId === partition.consumerId);
  return found ? `${found.name || found.username} on ${found.node}` : 'none';
};

function Detail({boundary, subscription: s, onClose}) {
  const consumers = s.consumers || [];
  const state = useLoad(signal =>
    call('Subscriptions/GetSubscription', {boundary, name: s.name, with_lag_history: true}, {signal}),
  [boundary, s.name]);
  useEffect(() => { state.poll(); }, [s]); // with each poll of the page
  const partitions = state.value?.subscription.partitionStates || [];
  return html`<${Dialog} title=${s.name} onClose=${onClose}>
    <${Lag} samples=${state.value?.lagHistory || []} loading=${!state.value && state.loading} />
    <dl class="facts"><dt>Delivered again</dt><dd>${`after ${s.ackTimeout} without an acknowledgement`}</dd>
      <dt>Parked</dt><dd>${`after ${refusals(s.maxRefusals)}; ${number(s.parked)} now`}</dd></dl>
    <h3>Partitions</h3><div class="scroll" tabindex="0" role="region" aria-label="Partitions"><table><thead><tr>
      <th>Partition</th><th>Lag</th><th>Consumer</th></tr></thead><tbody>
      ${partitions.map(p => html`<tr key=${p.partition}><td>${p.partition}</td>
        <td>${number(p.lag?.events ?? 0)} events</td><td>${holderOf(p, consumers)}</td></tr>`)}</tbody></table>
    </div>
    <h3>Consumers</h3>${consumers.length === 0 && html`<p>No consumer is connected.</p>`}
    <ul class="plain">${consumers.map(c => html`<li key=${c.consumerId}><strong>${c.name || c.username}</strong>
      ${' '}${c.address}, node ${c.node}, since ${time(c.connectedAt)}; ${(c.partitions || []).length > 0
        ? `partitions ${c.partitions.join(', ')}` : 'standby'}</li>`)}</ul>
    ${state.value ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}<//>`;
}

// Live are the open streams of CatchUpSubscribeToEvents.
function Live({boundary, found}) {
  const list = found?.subscribers || [];
  if (!found) return null;
  return html`<h2>Live subscribers</h2>
    <${MissingNodes} found=${found} note="A node that is stopped or removed has none." />
    ${list.length === 0 && html`<p class="muted">No program follows ${boundary} by CatchUpSubscribeToEvents.</p>`}
    ${list.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Live subscribers"><table>
      <thead><tr><th>User</th><th>Name</th><th class="num">Behind</th><th>Node</th><th>Address</th><th>Since</th>
      </tr></thead><tbody>${list.map(l => html`<tr key=${l.node + l.address + l.connectedAt} tabindex="0">
        <td>${l.username}</td><td>${l.subscriberName || '–'} ${l.standby && html`<span class="badge">Standby</span>`}
          ${l.filtered && html`<span class="badge">Filtered</span>`}</td>
        <td class="num">${number(l.behind)}</td><td>${l.node}</td><td>${l.address}</td>
        <td class="when">${time(l.connectedAt)}</td></tr>`)}</tbody></table></div>`}
    ${Number(found.total) > list.length && html`<p class="muted">${number(found.total)} in all.</p>`}`;
}

async function load(boundary, signal) {
  const [durable, live] = await Promise.all([
    call('Subscriptions/ListSubscriptions', {boundary, without_partition_states: true}, {signal}),
    call('Admin/ListSubscribers', {boundary}, {signal})]);
  return {...durable, live};
}

export function Subscriptions({may, query}) {
  const chosen = useBoundary({may, query}), boundary = chosen.name;
  const state = useLoad(async signal => boundary ? load(boundary, signal) : undefined, [boundary]);
  const [open, show] = useState(null);
  const [detail, showDetail] = useState(null);
  const list = state.value?.subscriptions || [];
  const every = period * Math.max(1, Math.ceil(list.length / cheap));
  useEffect(() => { const timer = setInterval(state.poll, every); return () => clearInterval(timer); });
  const pages = usePages(list, s => s.name);
  return html`<div class="bar"><${Choose} of=${chosen}
        onChange=${name => go('subscriptions', {boundary: name})} />
      <${Filter} pages=${pages} label="Find a subscription" /></div>
    <${NoBoundary} of=${chosen} may=${may} />
    ${state.value ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}
    ${list.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Subscriptions"><table>
      <thead><tr><th>Name</th><th class="num">Lag</th><th class="num wide-only">Partitions</th>
        <th class="wide-only">Consumers</th><th>Parked</th><th class="wide-only">Created</th></tr></thead><tbody>
      ${pages.rows.map(s => html`<tr key=${s.name} ...${opens(() => showDetail(s.name))}><td>${s.name}</td>
        <td class="num">${number(s.lag?.events ?? 0)} events, ${rate(s.lag?.seconds ?? 0)} s</td>
        <td class="num wide-only">${s.partitions}</td><td class="wide-only">${(s.consumers || []).length}</td>
        <td><button onClick=${e => { e.stopPropagation(); show(s.name); }}
          aria-label=${`${number(s.parked)} parked of ${s.name}`}>${number(s.parked)}</button></td>
        <td class="when wide-only">${time(s.createdAt)}</td></tr>`)}</tbody></table></div>`}
    <${Paging} pages=${pages} />
    ${state.value && list.length === 0 && html`<${Empty} title="No durable subscriptions">
      <p>The store holds the position of a durable subscription. Create one, for instance with the command line:</p>
      <${Command} text=${orisun(`subscription create ${boundary} mailer`) + '\n' +
        orisun(`subscription consume ${boundary} mailer --exec './send-mail'`)} program="orisun" />
      <${Authority} /><//>`}
    <${Live} boundary=${boundary} found=${state.value?.live} />
    ${detail && list.some(s => s.name === detail) && html`<${Detail} boundary=${boundary}
      subscription=${list.find(s => s.name === detail)} onClose=${() => showDetail(null)} />`}
    ${open && html`<${Parked} boundary=${boundary} name=${open} may=${may} onClose=${() => show(null)} />`}`;
}
