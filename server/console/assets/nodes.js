// What the nodes of the cluster report of themselves, polled while a user who may see it is logged in.
import {call} from './api.js';

const period = 2000, points = 15 * 60 * 1000 / period; // 15 minutes
const counted = ['saves', 'conflicts', 'reads', 'deliveries', 'flushes', 'flushSeconds'];
export const history = {at: [], saves: [], conflicts: [], reads: [], deliveries: [], flush: []};
let latest = {}, before = {}, listeners = new Set();

const sum = (rows, name) => rows.reduce((total, row) => total + Number(row[name]), 0);

// counters are a node's numbers, and the saves of its boundaries.
const counters = node => ({
  at: node.measuredAt ? new Date(node.measuredAt) / 1000 : 0, reads: Number(node.reads),
  flushes: Number(node.flushes), flushSeconds: node.flushSeconds,
  saves: sum(node.boundaries, 'saves'), conflicts: sum(node.boundaries, 'conflicts'),
  deliveries: sum(node.boundaries, 'deliveries'),
  boundaries: Object.fromEntries(node.boundaries.map(b => [b.name, Number(b.saves)])),
});

// ratesOf are a node's changes per second since the last poll; those of that poll where nothing was measured since.
function ratesOf(now, then) {
  if (!then || now.at < then.at) return {};
  if (now.at === then.at) return then.rates || {};
  const per = (to, from) => Math.max(0, to - (from ?? to)) / (now.at - then.at);
  const rates = Object.fromEntries(counted.map(name => [name, per(now[name], then[name])]));
  rates.boundaries = Object.fromEntries(Object.entries(now.boundaries).map(([name, saves]) =>
    [name, per(saves, then.boundaries[name])]));
  return rates;
}

// merge joins the boundaries of all nodes: events and outbox lag are the same on each, the rest is added up. Events and
// bytes are undefined while PostgreSQL answers no node.
function merge(nodes) {
  const all = new Map();
  for (const node of nodes) {
    for (const b of node.boundaries) {
      const one = all.get(b.name) || {name: b.name, outbox: 0, queued: 0, saves: 0, publishers: []};
      all.set(b.name, one);
      if (b.events !== undefined) one.events = Math.max(one.events ?? 0, Number(b.events));
      if (b.bytes !== undefined) one.bytes = Math.max(one.bytes ?? 0, Number(b.bytes));
      one.outbox = Math.max(one.outbox, Number(b.outboxEvents ?? 0));
      one.queued += Number(b.queued);
      one.saves += node.rates.boundaries?.[b.name] ?? 0;
      if (b.publishes) one.publishers.push(node.name);
    }
  }
  return all;
}

function record() {
  const rates = latest.nodes.map(node => node.rates);
  if (!rates.some(of => 'saves' in of)) return; // the first poll
  const total = name => rates.reduce((all, of) => all + (of[name] ?? 0), 0);
  history.at.push(Date.now() / 1000);
  for (const name of ['saves', 'conflicts', 'reads', 'deliveries']) history[name].push(total(name));
  history.flush.push(total('flushes') > 0 ? total('flushSeconds') / total('flushes') * 1000 : 0);
  if (history.at.length > points) for (const column of Object.values(history)) column.shift();
}

// look polls once.
export async function look() {
  const {nodes, unanswered, disconnected, node} = await call('Admin/ListNodes');
  const next = {};
  for (const one of nodes) {
    const now = next[one.name] = counters(one);
    one.rates = now.rates = ratesOf(now, before[one.name]);
  }
  before = next;
  latest = {nodes, unanswered, disconnected, node, boundaries: merge(nodes)};
  record();
  sessionStorage.setItem('nodes', JSON.stringify({history, before, at: Date.now()}));
}

// restore continues the charts of this tab after a reload.
function restore() {
  const stored = JSON.parse(sessionStorage.getItem('nodes') || 'null');
  if (!stored || Date.now() - stored.at > 60000) return;
  Object.assign(history, stored.history);
  before = stored.before;
}

// watch polls until its result is called. A poll begins when the one before has ended.
export function watch() {
  let timer = 0, ended = false;
  const poll = async () => {
    await look().catch(error => { latest = {...latest, error}; });
    if (ended) return;
    listeners.forEach(listener => listener(latest));
    timer = setTimeout(poll, period);
  };
  restore();
  poll();
  return () => { ended = true; clearTimeout(timer); };
}

// listen calls a function with each poll's result, until the function that it returns is called.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const current = () => latest;
