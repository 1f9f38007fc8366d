import {html, useEffect} from '../vendor/htm-preact.js';
import {boundaryNames, call} from '../api.js';
import {label, toURL} from '../criteria.js';
import {Choose, Empty, Loading, Problem, Stat, number, rate, time, useLoad} from '../ui.js';
import {go} from '../app.js';

// Bars is an hour, a bar for each minute.
function Bars({minutes, title}) {
  const most = Math.max(1, ...minutes.map(Number));
  return html`<svg class="bars" viewBox="0 0 240 32" preserveAspectRatio="none" role="img" aria-label=${title}>
    ${minutes.map((count, i) => Number(count) > 0 && html`<rect key=${i} x=${i * 4} width="3"
      y=${32 - Math.max(2, count / most * 32)} height=${Math.max(2, count / most * 32)} />`)}</svg>`;
}

// perMinute is the rate of the last five minutes.
const perMinute = minutes => minutes.slice(-5).reduce((sum, count) => sum + Number(count), 0) / 5;

const playground = (boundary, criteria) => {
  const query = new URLSearchParams({boundary});
  toURL(query, criteria.map(c => c.tags || []));
  return '#/playground?' + query;
};

export function Conflicts({may, query}) {
  const names = useLoad(() => boundaryNames(may), []);
  const boundary = query.get('boundary') || names.value?.find(name => name !== 'orisun_admin') || '';
  const state = useLoad(async signal =>
    boundary ? call('Admin/ListConflicts', {boundary, count: 50}, {signal}) : undefined, [boundary]);
  useEffect(() => { const timer = setInterval(state.poll, 5000); return () => clearInterval(timer); });
  const found = state.value, contexts = found?.contexts || [];
  return html`<div class="bar"><${Choose} names=${names.value ?? null} value=${boundary}
        onChange=${name => go('conflicts', {boundary: name})} /></div>
    ${found ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}
    <${Problem} error=${names.error} />
    ${found && html`<div class="stats">
        <${Stat} label="Conflicts" value=${number(found.total)} hint="in the last hour" />
        <${Stat} label="Now" value=${rate(perMinute(found.minutes))} hint="per minute, of the last five" />
        <div class="stat wide"><span>By minute</span>
          <${Bars} minutes=${found.minutes} title="Conflicts by minute" /></div></div>
      <p class="muted">Counted by node ${found.node} since ${time(found.since)}.</p>`}
    ${contexts.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Contexts"><table>
      <thead><tr><th>Context</th><th class="num">Conflicts</th><th class="num">Per minute</th><th>Last hour</th>
        <th>Last</th></tr></thead><tbody>
      ${contexts.map(c => html`<tr key=${JSON.stringify(c.criteria)} tabindex="0">
        <td><a href=${playground(boundary, c.criteria)}>${c.criteria.map(one =>
          (one.tags || []).map(label).join(' and ') || 'every event').join(' or ')}</a></td>
        <td class="num">${number(c.count)}</td><td class="num">${rate(perMinute(c.minutes))}</td>
        <td><${Bars} minutes=${c.minutes} title="By minute" /></td><td class="when">${time(c.last)}</td></tr>`)}
      </tbody></table></div>`}
    ${found && contexts.length === 0 && html`<${Empty} title="No conflicts in the last hour"><p>A save conflicts when
      another save changed its context first. Contexts with conflicts appear here by themselves.</p><//>`}`;
}
