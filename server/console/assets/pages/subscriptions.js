import {html, useEffect, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {Choose, Command, Dialog, Empty, Loading, Problem, number, rate, time, useLoad} from '../ui.js';
import {Authority, orisun} from '../commands.js';
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

export function Subscriptions({may, query}) {
  const names = useLoad(() => boundaryNames(may), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const state = useLoad(async signal =>
    boundary ? call('Subscriptions/ListSubscriptions', {boundary}, {signal}) : undefined, [boundary]);
  const [open, show] = useState(null);
  useEffect(() => { const timer = setInterval(state.reload, 5000); return () => clearInterval(timer); });
  const list = state.value?.subscriptions || [];
  return html`<div class="bar"><${Choose} names=${names.value ?? null} value=${boundary}
        onChange=${name => go('subscriptions', {boundary: name})} />
      <button onClick=${state.reload}>Reload</button></div>
    ${!state.value && html`<${Loading} state=${state} />`}<${Problem} error=${state.error} />
    ${list.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Subscriptions"><table>
      <thead><tr><th>Name</th><th class="num">Lag</th><th class="num">Partitions</th><th>Consumers</th><th>Parked</th>
        <th>Created</th></tr></thead><tbody>
      ${list.map(s => html`<tr key=${s.name} tabindex="0"><td>${s.name}</td>
        <td class="num">${number(s.lag?.events ?? 0)} events, ${rate(s.lag?.seconds ?? 0)} s</td>
        <td class="num">${s.partitions}</td><td>${(s.consumers || []).length}</td>
        <td><button onClick=${() => show(s.name)}>${number(s.parked)}</button></td>
        <td>${time(s.createdAt)}</td></tr>`)}</tbody></table></div>`}
    ${state.value && list.length === 0 && html`<${Empty} title="No durable subscriptions">
      <p>The store holds the position of a durable subscription. Create one, for instance with the command line:</p>
      <${Command} text=${orisun(`subscription create ${boundary} mailer`) + '\n' +
        orisun(`subscription consume ${boundary} mailer --exec './send-mail'`)} /><${Authority} /><//>`}
    ${open && html`<${Parked} boundary=${boundary} name=${open} may=${may} onClose=${() => show(null)} />`}`;
}
