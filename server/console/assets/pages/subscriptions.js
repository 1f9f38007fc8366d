import {html, useEffect, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {Chart} from '../chart.js';
import {Authority, orisun} from '../commands.js';
import {Choose, Command, Dialog, Empty, Loading, Problem, number, opens, rate, time, useLoad} from '../ui.js';
import {go} from '../app.js';

function Parked({boundary, name, may, onClose}) {
  const of = {boundary, subscription: name};
  const state = useLoad(signal => call('Subscriptions/ListParked', of, {signal}), []);
  const [error, fail] = useState();
  const run = (rpc, more) => call('Subscriptions/' + rpc, {...of, ...more}).then(state.reload, fail);
  const parked = state.value?.events || [], own = may.index(boundary);
  return html`<${Dialog} title=${`Parked in ${name}`} onClose=${onClose}>
    <${Loading} state=${state} /><${Problem} error=${error} />
    ${parked.length === 0 && state.value && html`<p>Nothing is parked.</p>`}
    ${parked.length > 0 && html`<ul class="plain parked">${parked.map(p => html`<li key=${p.event?.eventId}>
      <div class="grow"><strong>${p.event?.eventType}</strong> <span class="muted">${p.event?.position?.globalId}</span>
        ${p.replaying && html`<span class="badge">Replaying</span>`}
        <p>${p.reason}</p><small>${p.refusals} refusals, parked ${time(p.parkedAt)}</small></div>
      ${own && html`
        <button onClick=${() => run('ReplayParked', {positions: [p.event.position]})}
          disabled=${p.replaying}>Replay</button>
        <button class="danger"
          onClick=${() => run('SkipParked', {positions: [p.event.position]})}>Skip</button>`}</li>`)}</ul>
      ${own && html`<div class="bar"><button class="primary" onClick=${() => run('ReplayParked')}>Replay all</button>
        <button class="danger" onClick=${() => run('SkipParked', {all: true})}>Skip all</button></div>`}`}<//>`;
}

const period = 5000, points = 15 * 60 * 1000 / period; // 15 minutes
const lags = new Map(); // boundary/name → [times, events]

// note adds a poll's lags to the charts.
function note(boundary, list) {
  for (const s of list) {
    const key = `${boundary}/${s.name}`, data = lags.get(key) || [[], []];
    lags.set(key, data);
    data[0].push(Date.now() / 1000);
    data[1].push(Number(s.lag?.events ?? 0));
    if (data[0].length > points) data.forEach(column => column.shift());
  }
}

const holderOf = (partition, consumers) => {
  const found = consumers.find(c => c.consumerId === partition.consumerId);
  return found ? `${found.name || found.username} on ${found.node}` : 'none';
};

function Detail({boundary, subscription: s, onClose}) {
  const consumers = s.consumers || [];
  const state = useLoad(signal =>
    call('Subscriptions/GetSubscription', {boundary, name: s.name}, {signal}), [boundary, s.name]);
  useEffect(() => { state.poll(); }, [s]); // with each poll of the page
  const partitions = state.value?.subscription.partitionStates || [];
  return html`<${Dialog} title=${s.name} onClose=${onClose}>
    <h3>Events behind, since this page was opened</h3>
    <${Chart} title="Lag in events" series=${[{label: 'Events', color: '--accent'}]}
      data=${lags.get(`${boundary}/${s.name}`)} />
    <h3>Partitions</h3><div class="scroll" tabindex="0" role="region" aria-label="Partitions"><table><thead><tr>
      <th class="num">Partition</th><th class="num">Lag</th><th>Consumer</th></tr></thead><tbody>
      ${partitions.map(p => html`<tr key=${p.partition}><td class="num">${p.partition}</td>
        <td class="num">${number(p.lag?.events ?? 0)}</td><td>${holderOf(p, consumers)}</td></tr>`)}</tbody></table>
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
    ${found.unanswered.map(name => html`<p key=${name} class="warning">${`Node ${name} does not answer.`}</p>`)}
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
  const [durable, live] = await Promise.all([call('Subscriptions/ListSubscriptions', {boundary}, {signal}),
    call('Admin/ListSubscribers', {boundary}, {signal})]);
  note(boundary, durable.subscriptions);
  return {...durable, live};
}

export function Subscriptions({may, query}) {
  const names = useLoad(() => boundaryNames(may), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const state = useLoad(async signal => boundary ? load(boundary, signal) : undefined, [boundary]);
  const [open, show] = useState(null);
  const [detail, showDetail] = useState(null);
  useEffect(() => { const timer = setInterval(state.poll, period); return () => clearInterval(timer); });
  const list = state.value?.subscriptions || [];
  return html`<div class="bar"><${Choose} names=${names.value ?? null} value=${boundary}
        onChange=${name => go('subscriptions', {boundary: name})} />
      <button onClick=${state.reload}>Reload</button></div>
    ${state.value ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}
    ${list.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Subscriptions"><table>
      <thead><tr><th>Name</th><th class="num">Lag</th><th class="num">Partitions</th><th>Consumers</th><th>Parked</th>
        <th>Created</th></tr></thead><tbody>
      ${list.map(s => html`<tr key=${s.name} ...${opens(() => showDetail(s.name))}><td>${s.name}</td>
        <td class="num">${number(s.lag?.events ?? 0)} events, ${rate(s.lag?.seconds ?? 0)} s</td>
        <td class="num">${s.partitions}</td><td>${(s.consumers || []).length}</td>
        <td><button onClick=${e => { e.stopPropagation(); show(s.name); }}>${number(s.parked)}</button></td>
        <td>${time(s.createdAt)}</td></tr>`)}</tbody></table></div>`}
    ${state.value && list.length === 0 && html`<${Empty} title="No durable subscriptions">
      <p>The store holds the position of a durable subscription. Create one, for instance with the command line:</p>
      <${Command} text=${orisun(`subscription create ${boundary} mailer`) + '\n' +
        orisun(`subscription consume ${boundary} mailer --exec './send-mail'`)} /><${Authority} /><//>`}
    <${Live} boundary=${boundary} found=${state.value?.live} />
    ${detail && list.some(s => s.name === detail) && html`<${Detail} boundary=${boundary}
      subscription=${list.find(s => s.name === detail)} onClose=${() => showDetail(null)} />`}
    ${open && html`<${Parked} boundary=${boundary} name=${open} may=${may} onClose=${() => show(null)} />`}`;
}
