// What the nodes of the cluster report of themselves, polled while a user who may see it is logged in.
import {call} from './api.js';

const period = 2000, span = 15 * 60; // milliseconds between polls, seconds of the charts
// With many boundaries a node measures itself less often: once in so many milliseconds for each.
const perBoundary = 20;
const step = 10, oldest = 75, gap = 30; // seconds: of the charts' past, of a sample in it, between two polls
const counted = ['saves', 'conflicts', 'reads', 'deliveries', 'flushes', 'flushSeconds'];
const drawn = ['saves', 'conflicts', 'reads', 'deliveries', 'flush'];
export const history = {at: [], saves: [], conflicts: [], reads: [], deliveries: [], flush: []};
let latest = {}, before = {}, looked = 0, listeners = new Set();

const sum = (rows, name) => rows.reduce((total, row) => total + Number(row[name]), 0);

// counters are a node's numbers, and the saves of its boundaries.
const counters = node => ({
  at: seconds(node.measuredAt), reads: Number(node.reads),
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

const seconds = text => text ? new Date(text) / 1000 : 0;

// fill replaces the charts' data by the samples that the nodes took of themselves, each at its own times.
function fill(nodes) {
  const all = nodes.map(node => (node.history || []).map(({measuredAt, flushSeconds, ...rates}) =>
    ({...rates, at: seconds(measuredAt), flush: flushSeconds * 1000})));
  const times = new Set(all.flat().map(sample => Math.ceil(sample.at / step) * step));
  for (const column of Object.values(history)) column.length = 0;
  for (const at of [...times].sort((a, b) => a - b)) {
    const latest = all.map(samples => samples.findLast(sample => sample.at <= at))
      .filter(sample => sample && at - sample.at < oldest);
    history.at.push(at);
    for (const name of drawn) history[name].push(sum(latest, name));
    const flushed = latest.filter(sample => sample.flush > 0).length;
    history.flush.push(history.flush.pop() / Math.max(1, flushed));
  }
}

function record() {
  const rates = latest.nodes.map(node => node.rates);
  if (!rates.some(of => 'saves' in of)) return; // the first poll
  const total = name => rates.reduce((all, of) => all + (of[name] ?? 0), 0);
  const at = Math.max(...latest.nodes.map(node => seconds(node.measuredAt)));
  if (at <= history.at.at(-1)) return; // nothing was measured since
  history.at.push(at);
  for (const name of ['saves', 'conflicts', 'reads', 'deliveries']) history[name].push(total(name));
  history.flush.push(total('flushes') > 0 ? total('flushSeconds') / total('flushes') * 1000 : 0);
  while (history.at[0] < at - span) for (const column of Object.values(history)) column.shift();
}

// look polls once. Where the charts lack the time before, at first and after a pause of the browser, they begin with
// the samples of the nodes.
export async function look() {
  const begins = Date.now() - looked > gap * 1000;
  const {nodes, unanswered, disconnected, node} = await call('Admin/ListNodes', {with_history: begins});
  looked = Date.now();
  if (begins) { fill(nodes); before = {}; }
  const next = {};
  for (const one of nodes) {
    const now = next[one.name] = counters(one);
    one.rates = now.rates = ratesOf(now, before[one.name]);
  }
  before = next;
  latest = {nodes, unanswered, disconnected, node, boundaries: merge(nodes)};
  record();
}

// watch polls until its result is called. A poll begins when the one before has ended.
export function watch() {
  let timer = 0, ended = false;
  const poll = async () => {
    await look().catch(error => { latest = {...latest, error}; });
    if (ended) return;
    listeners.forEach(listener => listener(latest));
    timer = setTimeout(poll, Math.max(period, (latest.boundaries?.size ?? 0) * perBoundary));
  };
  looked = 0;
  poll();
  return () => { ended = true; clearTimeout(timer); };
}

// listen calls a function with each poll's result, until the function that it returns is called.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const current = () => latest;
