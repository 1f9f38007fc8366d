import {html, useEffect, useRef, useState} from '../vendor/htm-preact.js';
import {metrics, readiness} from '../api.js';
import {Problem, Stat, number, rate} from '../ui.js';

const period = 2000, points = 15 * 60 * 1000 / period; // 15 minutes
let history = {at: [], saves: [], conflicts: [], reads: [], deliveries: [], flush: []};
let latest = {}, before = null, listeners = new Set();

// restore continues the charts of this tab after a reload.
function restore() {
  const stored = JSON.parse(sessionStorage.getItem('overview') || 'null');
  if (stored?.before && Date.now() / 1000 - stored.before.at < 60) ({history, before} = stored);
}

const total = (series, name, where = () => true) =>
  series.filter(s => s.name === name && where(s.labels)).reduce((sum, s) => sum + s.value, 0);

function counters(series) {
  const outcome = wanted => labels => labels.orisun_outcome === wanted;
  const reads = labels => /\/(GetEvents|GetLatestByCriteria)$/.test(labels.rpc_method || '');
  return {
    saves: total(series, 'orisun_saves_total', outcome('saved')),
    conflicts: total(series, 'orisun_saves_total', outcome('context_changed')),
    reads: total(series, 'rpc_server_call_duration_seconds_count', reads),
    deliveries: total(series, 'orisun_feed_deliveries_total'),
    flushed: total(series, 'orisun_flush_duration_seconds_count'),
    flushing: total(series, 'orisun_flush_duration_seconds_sum'),
  };
}

async function look() {
  try {
    const series = await metrics();
    const now = Date.now() / 1000, next = {at: now, ...counters(series)};
    latest = {series, ready: await readiness()};
    if (before) {
      const per = name => Math.max(0, next[name] - before[name]) / (now - before.at);
      const flushed = next.flushed - before.flushed;
      history.at.push(now);
      for (const name of ['saves', 'conflicts', 'reads', 'deliveries']) history[name].push(per(name));
      history.flush.push(flushed > 0 ? (next.flushing - before.flushing) / flushed * 1000 : 0);
      if (history.at.length > points) for (const column of Object.values(history)) column.shift();
    }
    before = next;
    sessionStorage.setItem('overview', JSON.stringify({history, before}));
  } catch (error) { latest = {...latest, error}; }
  listeners.forEach(listener => listener(latest));
}

// watch collects the last 15 minutes while a user is logged in.
export function watch() {
  restore();
  look();
  const timer = setInterval(look, period);
  return () => clearInterval(timer);
}

function Chart({title, series}) {
  const place = useRef(null), plot = useRef(null);
  const data = () => [history.at, ...series.map(s => history[s.from])];
  useEffect(() => {
    const css = getComputedStyle(document.documentElement), color = name => css.getPropertyValue(name).trim();
    const axis = {stroke: color('--muted'), grid: {stroke: color('--line'), width: 1}, ticks: {show: false}};
    const width = () => place.current.clientWidth;
    plot.current = new uPlot({
      width: width(), height: 180, cursor: {y: false}, legend: {live: false},
      scales: {y: {range: (_, low, high) => [0, Math.max(1, high * 1.1)]}},
      axes: [axis, {...axis, size: 56}],
      series: [{}, ...series.map(s => ({label: s.label, stroke: color(s.color), width: 2, points: {show: false}}))],
    }, data(), place.current);
    const resize = new ResizeObserver(() => plot.current.setSize({width: width(), height: 180}));
    resize.observe(place.current);
    return () => { resize.disconnect(); plot.current.destroy(); };
  }, []);
  useEffect(() => plot.current?.setData(data()));
  return html`<section class="card"><h2>${title}</h2>
    <div class="chart" ref=${place} role="img" aria-label=${title}></div></section>`;
}

export function Overview() {
  const [{series, ready, error}, set] = useState(latest);
  useEffect(() => { listeners.add(set); return () => listeners.delete(set); }, []);
  const last = name => history[name].at(-1) ?? 0;
  if (!series) return html`<p class="busy" role="status">Loading …</p><${Problem} error=${error} />`;
  const leads = series.filter(s => s.name === 'orisun_outbox_leads' && s.value === 1)
    .map(s => s.labels.orisun_boundary);
  const lag = total(series, 'orisun_outbox_lag_events');
  return html`<${Problem} error=${error} />
    <div class="stats">
      <${Stat} label="Saves / s" value=${rate(last('saves'))} />
      <${Stat} label="Conflicts / s" value=${rate(last('conflicts'))} />
      <${Stat} label="Reads / s" value=${rate(last('reads'))} />
      <${Stat} label="Deliveries / s" value=${rate(last('deliveries'))} />
      <${Stat} label="Flush" value=${rate(last('flush')) + ' ms'}
        hint=${number(total(series, 'orisun_queue_depth')) + ' saves wait'} />
      <${Stat} label="Outbox lag" value=${number(lag)} hint="events" />
      <${Stat} label="Subscribers" value=${number(total(series, 'orisun_feed_subscribers'))} hint="on this node" />
    </div>
    <div class="charts">
      <${Chart} title="Per second" series=${[{from: 'saves', label: 'Saves', color: '--accent'},
        {from: 'conflicts', label: 'Conflicts', color: '--bad'}]} />
      <${Chart} title="Read and delivered per second"
        series=${[{from: 'reads', label: 'Reads', color: '--blue'},
          {from: 'deliveries', label: 'Deliveries', color: '--good'}]} />
    </div>
    <section class="card"><h2>Health</h2><ul class="health">
      ${Object.entries(ready.checks || {}).map(([name, check]) => html`<li key=${name}>
        <span class=${check.ok ? 'badge good' : 'badge bad'}>${check.ok ? 'OK' : 'Fails'}</span>
        ${' '}${name} ${check.reason}</li>`)}
    </ul>${ready.warnings?.map(text => html`<p class="warning">${text}</p>`)}
    <p class="muted">This node publishes: ${leads.join(', ') || 'nothing'}</p></section>`;
}
