// What the nodes of the cluster report of themselves, polled while a user who may see it is logged in.
import {call} from './api.js';

const period = 2000, span = 15 * 60; // milliseconds between polls, seconds of the charts
// With many boundaries a node measures itself less often: once in so many milliseconds for each.
const perBoundary = 20;
const step = 10, oldest = 75, gap = 30; // seconds: of the charts' past, of a sample in it, between two polls
const own = ['reads', 'flushes', 'flushSeconds'], ofBoundaries = ['saves', 'conflicts', 'deliveries'];
const drawn = ['saves', 'conflicts', 'reads', 'deliveries', 'flush'];
export const history = {at: [], saves: [], conflicts: [], reads: [], deliveries: [], flush: []};
let latest = {}, before = {}, looked = 0, listeners = new Set();

const sum = (rows, name) => rows.reduce((total, row) => total + Number(row[name]), 0);

const numbers = (row, names) => Object.fromEntries(names.map(name => [name, Number(row[name])]));

// counters are a node's numbers since its start, and those of its boundaries.
const counters = node => ({
  ...numbers(node, own), at: seconds(node.measuredAt), startedAt: node.startedAt,
  boundaries: Object.fromEntries(node.boundaries.map(b => [b.name, numbers(b, ofBoundaries)])),
});

// ratesOf are a node's changes per second since the last poll; those of that poll where nothing was measured since.
// There are none after a restart, which resets the counters. Only boundaries of both polls count: those of a recreated
// one go on where the deleted one ended.
function ratesOf(now, then) {
  if (!then?.at || now.at < then.at || now.startedAt !== then.startedAt) return {};
  if (now.at === then.at) return then.rates;
  const per = (to, from) => Math.max(0, to - from) / (now.at - then.at);
  const rates = Object.fromEntries(own.map(name => [name, per(now[name], then[name])]));
  rates.boundaries = {};
  for (const name of ofBoundaries) rates[name] = 0;
  for (const [boundary, to] of Object.entries(now.boundaries)) {
    const from = then.boundaries[boundary];
    if (!from) continue;
    for (const name of ofBoundaries) rates[name] += per(to[name], from[name]);
    rates.boundaries[boundary] = per(to.saves, from.saves);
  }
  return {...rates, flush: flushOf(rates)};
}

// flushOf is how many milliseconds a flush takes.
const flushOf = ({flushes, flushSeconds}) => flushes > 0 ? flushSeconds / flushes * 1000 : 0;

// totalOf adds up the rates of all nodes. It is empty before any are known.
function totalOf(nodes) {
  const known = nodes.map(node => node.rates).filter(rates => 'saves' in rates);
  if (known.length === 0) return {};
  const all = Object.fromEntries([...own, ...ofBoundaries].map(name => [name, sum(known, name)]));
  return {...all, flush: flushOf(all)};
}

// merge joins the boundaries of all nodes: events and outbox lag are the same on each, the rest is added up. Events and
// bytes are undefined while PostgreSQL answers no node, saves before they are known.
function merge(nodes) {
  const all = new Map();
  for (const node of nodes) {
    for (const b of node.boundaries) {
      const one = all.get(b.name) || {name: b.name, outbox: 0, queued: 0, publishers: []};
      all.set(b.name, one);
      if (b.events !== undefined) one.events = Math.max(one.events ?? 0, Number(b.events));
      if (b.bytes !== undefined) one.bytes = Math.max(one.bytes ?? 0, Number(b.bytes));
      one.outbox = Math.max(one.outbox, Number(b.outboxEvents ?? 0));
      one.queued += Number(b.queued);
      const saves = node.rates.boundaries?.[b.name];
      if (saves !== undefined) one.saves = (one.saves ?? 0) + saves;
      if (b.publishes) one.publishers.push(node.name);
    }
  }
  return all;
}

const seconds = text => text ? new Date(text) / 1000 : 0;

// drop removes a part of the charts' data.
const drop = (from, count) => { for (const column of Object.values(history)) column.splice(from, count); };

// fill replaces the charts' data by the samples that the nodes took of themselves, each at its own times. What is older
// than all samples stays, with a gap after it: a restarted node has no samples from before.
function fill(nodes) {
  const all = nodes.map(node => (node.history || []).map(({measuredAt, flushSeconds, ...rates}) =>
    ({...rates, at: seconds(measuredAt), flush: flushSeconds * 1000})));
  const newest = Math.max(...all.flat().map(sample => sample.at));
  const times = new Set(all.flat().map(sample => Math.min(Math.ceil(sample.at / step) * step, newest)));
  const first = Math.min(...times), kept = history.at.findIndex(at => at >= first);
  if (kept >= 0) drop(kept, Infinity);
  if (history.at.length > 0) {
    history.at.push(history.at.at(-1) + 1e-3);
    for (const name of drawn) history[name].push(null);
  }
  for (const at of [...times].sort((a, b) => a - b)) {
    const latest = all.map(samples => samples.findLast(sample => sample.at <= at))
      .filter(sample => sample && at - sample.at < oldest);
    history.at.push(at);
    for (const name of drawn) history[name].push(sum(latest, name));
    const flushed = latest.filter(sample => sample.flush > 0).length;
    history.flush.push(history.flush.pop() / Math.max(1, flushed));
  }
}

// record adds the latest rates to the charts. Points that are later than them are of a clock that was set back since.
function record() {
  const {nodes, rates} = latest;
  if (!('saves' in rates)) return; // the first poll
  const at = Math.max(...nodes.map(node => seconds(node.measuredAt)));
  if (at === history.at.at(-1)) return; // nothing was measured since
  const later = history.at.findIndex(one => one >= at);
  if (later >= 0) drop(later, Infinity);
  history.at.push(at);
  for (const name of drawn) history[name].push(rates[name]);
  drop(0, history.at.findIndex(one => one >= at - span));
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
  latest = {nodes, unanswered, disconnected, node, boundaries: merge(nodes), rates: totalOf(nodes)};
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
