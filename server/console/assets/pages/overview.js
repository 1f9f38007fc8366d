import {html, useEffect, useState} from '../vendor/htm-preact.js';
import {Chart} from '../chart.js';
import {current, history, listen} from '../nodes.js';
import {Problem, Stat, number, rate, time} from '../ui.js';

const named = 8; // how many boundaries a node names

// shown is a rate, which is unknown before the second measurement.
const shown = (value, unit = '') => value === undefined ? '–' : rate(value) + unit;

const total = (rows, name) => rows.reduce((sum, row) => sum + Number(row[name]), 0);

function Names({names}) {
  if (names.length === 0) return 'nothing';
  const more = names.length - named;
  return names.slice(0, named).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

const Fact = ({label, children}) => html`<div><dt>${label}</dt><dd>${children}</dd></div>`;

const Check = ({check}) => html`<li><span class=${check.ok ? 'badge good' : 'badge bad'}>
  ${check.ok ? 'OK' : 'Fails'}</span> ${check.name} ${!check.ok && check.reason}</li>`;

const leading = (node, what) => node.boundaries.filter(b => b[what]).map(b => b.name);

function Node({node, own, clustered}) {
  const per = (name, unit) => shown(node.rates[name], unit);
  return html`<section class="card node" aria-label=${`Node ${node.name}`}>
    <h3>${node.name} <span class=${node.ready ? 'badge good' : 'badge bad'}>${node.ready ? 'Ready' : 'Not ready'}</span>
      ${own && html` <span class="badge">This node</span>`}</h3>
    <p class="muted">${node.version}, since ${time(node.startedAt)}</p>
    ${!node.measuredAt && html`<p class="warning">Its numbers are missing: PostgreSQL does not answer it.</p>`}
    <dl class="numbers">
      <${Fact} label="Saves / s">${per('saves')}<//><${Fact} label="Conflicts / s">${per('conflicts')}<//>
      <${Fact} label="Reads / s">${per('reads')}<//><${Fact} label="Deliveries / s">${per('deliveries')}<//>
      <${Fact} label="Flush">${per('flush', ' ms')}<//>
      <${Fact} label="Saves that wait">${number(total(node.boundaries, 'queued'))}<//>
      <${Fact} label="Subscribers">${number(total(node.boundaries, 'subscribers'))}<//>
      <${Fact} label="Publishes">${number(leading(node, 'publishes').length)}<//></dl>
    <ul class="health">${node.checks.map(check => html`<${Check} key=${check.name} check=${check} />`)}</ul>
    <h4>Leads</h4>
    <ul class="plain leads">
      <li><span class="muted">Publishing of</span> ${Names({names: leading(node, 'publishes')})}</li>
      ${clustered && html`<li><span class="muted">JetStream streams of</span>
        ${' '}${Names({names: leading(node, 'leadsStream')})}</li>`}
      ${node.leadsJetstream && clustered && html`<li>JetStream: it assigns streams to nodes</li>`}
      ${node.projectsUsers && html`<li>The list of users</li>`}</ul>
    ${node.omittedBoundaries > 0 && html`<p class="muted">
      ${number(node.omittedBoundaries)} boundaries are not shown.</p>`}
  </section>`;
}

// warningsOf are the warnings of all nodes, each once, with the nodes that have it.
function warningsOf(nodes) {
  const all = new Map();
  for (const node of nodes) for (const text of node.warnings) all.set(text, [...all.get(text) || [], node.name]);
  return [...all];
}

export function Overview() {
  const [{nodes, unanswered, disconnected, node, boundaries, rates, error}, set] = useState(current());
  useEffect(() => listen(set), []);
  if (!nodes) return html`<p class="busy" role="status">Loading …</p><${Problem} error=${error} />`;
  const all = [...boundaries.values()], each = nodes.flatMap(n => n.boundaries);
  const missing = unanswered.length + disconnected.length;
  const unled = all.filter(b => b.publishers.length === 0).map(b => b.name);
  return html`<${Problem} error=${error} />
    <section aria-label="Warnings">
      ${unanswered.map(name => html`<p key=${name} class="warning" role="alert">
        ${`Node ${name} does not answer.`}</p>`)}
      ${disconnected.map(({name, since}) => html`<p key=${name} class="warning" role="alert">
        ${`Node ${name} has been disconnected since ${time(since)}.`}</p>`)}
      ${warningsOf(nodes).map(([text, of]) => html`<p key=${text} class="warning">
        ${nodes.length > 1 && of.length < nodes.length && html`<strong>${of.join(', ')}:</strong> `}${text}</p>`)}
      ${missing === 0 && unled.length > 0 && html`<p class="warning">No node publishes ${Names({names: unled})}.
        Subscribers read from PostgreSQL meanwhile.</p>`}</section>
    <div class="stats">
      <${Stat} label="Saves / s" value=${shown(rates.saves)} />
      <${Stat} label="Conflicts / s" value=${shown(rates.conflicts)} />
      <${Stat} label="Reads / s" value=${shown(rates.reads)} />
      <${Stat} label="Deliveries / s" value=${shown(rates.deliveries)} />
      <${Stat} label="Flush of saves" value=${shown(rates.flush, ' ms')}
        hint=${number(total(all, 'queued')) + ' saves wait'} />
      <${Stat} label="Outbox lag" value=${number(total(all, 'outbox'))} hint="events wait" />
      <${Stat} label="Subscribers" value=${number(total(each, 'subscribers'))} />
      <${Stat} label="Nodes" value=${number(nodes.length)}
        hint=${missing > 0 && `of ${nodes.length + missing}`} />
    </div>
    <div class="charts">
      <section class="card"><h2>Saves per second</h2><${Chart} title="Saves and conflicts per second"
        series=${[{label: 'Saves', color: '--accent'}, {label: 'Conflicts', color: '--bad'}]}
        data=${[history.at, history.saves, history.conflicts]} /></section>
      <section class="card"><h2>Reads and deliveries per second</h2><${Chart} title="Reads and deliveries per second"
        series=${[{label: 'Reads', color: '--blue'}, {label: 'Deliveries', color: '--good'}]}
        data=${[history.at, history.reads, history.deliveries]} /></section>
      <section class="card"><h2>Flush in milliseconds</h2><${Chart} title="Flush in milliseconds"
        series=${[{label: 'Flush', color: '--accent'}]} data=${[history.at, history.flush]} /></section>
    </div>
    <h2>Nodes</h2>
    <div class="nodes">${nodes.map(n => html`<${Node} key=${n.name} node=${n}
      clustered=${nodes.length + missing > 1} own=${nodes.length > 1 && n.name === node} />`)}</div>`;
}
