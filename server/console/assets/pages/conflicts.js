import {html, useEffect} from '../vendor/htm-preact.js';
import {call} from '../api.js';
import {Choose, NoBoundary, useBoundary} from '../boundary.js';
import {label, toURL} from '../criteria.js';
import {Empty, Loading, MissingNodes, Problem, Stat, number, opens, rate, time, useLoad} from '../ui.js';
import {go} from '../app.js';

const mostOf = minutes => Math.max(1, ...minutes.map(Number));

// Bars is an hour, a bar for each minute, on the scale of the most in a minute.
function Bars({minutes, most, title}) {
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
  const chosen = useBoundary({may, query}), boundary = chosen.name;
  const state = useLoad(async signal =>
    boundary ? call('Admin/ListConflicts', {boundary, count: 50}, {signal}) : undefined, [boundary]);
  useEffect(() => { const timer = setInterval(state.poll, 5000); return () => clearInterval(timer); });
  const found = state.value, contexts = found?.contexts || [];
  const most = Math.max(1, ...contexts.map(c => mostOf(c.minutes)));
  return html`<div class="bar"><${Choose} of=${chosen}
        onChange=${name => go('conflicts', {boundary: name})} /></div>
    ${found ? html`<${Problem} error=${state.error} />` : html`<${Loading} state=${state} />`}
    <${NoBoundary} of=${chosen} may=${may} />
    ${found && html`<div class="stats">
        <${Stat} label="Conflicts" value=${number(found.total)} hint="in the last hour" />
        <${Stat} label="Average / minute" value=${rate(perMinute(found.minutes))} hint="last 5 minutes" />
        <div class="stat wide"><span>${`By minute, at most ${number(mostOf(found.minutes))}`}</span>
          <${Bars} minutes=${found.minutes} most=${mostOf(found.minutes)} title="Conflicts by minute" />
          <small class="ends"><span>an hour ago</span><span>now</span></small></div></div>
      <${MissingNodes} found=${found} note="A node that stopped has lost its counts." />
      <p class="muted">Counted by ${found.nodes.map(node =>
        `node ${node.name} since ${time(node.since)}${found.nodes.length > 1 ? ` (${number(node.total)})` : ''}`)
        .join(', ')}.</p>`}
    ${contexts.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Contexts"><table>
      <thead><tr><th>Context</th><th class="num">Conflicts</th><th class="num wide-only">Average / minute</th>
        <th>${`Last hour, bars up to ${number(most)}`}</th><th class="wide-only">Last</th></tr></thead><tbody>
      ${contexts.map(c => html`<tr key=${JSON.stringify(c.criteria)}
        ...${opens(() => { location.hash = playground(boundary, c.criteria); })}>
        <td><a href=${playground(boundary, c.criteria)}>${c.criteria.map(one =>
          (one.tags || []).map(label).join(' and ') || 'every event').join(' or ')}</a></td>
        <td class="num">${number(c.count)}</td><td class="num wide-only">${rate(perMinute(c.minutes))}</td>
        <td class="drawn"><${Bars} minutes=${c.minutes} most=${most} title="By minute" /></td>
        <td class="when wide-only">${time(c.last)}</td></tr>`)}
      </tbody></table></div>`}
    ${found && contexts.length === 0 && html`<${Empty} title="No conflicts in the last hour"><p>A save conflicts when
      another save changed its context first. Contexts with conflicts appear here by themselves.</p><//>`}`;
}
