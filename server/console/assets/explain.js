// Explain as a picture: which index is read, how many pages, and how many of the events that are read match.
import {html} from './vendor/htm-preact.js';
import {label} from './criteria.js';
import {milliseconds, number} from './ui.js';

const width = 400, cell = 16, mostCells = width / cell;

// Pages draws a square for each page, or for several of them.
function Pages({count, most}) {
  const each = Math.max(1, Math.ceil(most / mostCells)), cells = Math.ceil(count / each);
  return html`<svg class="pages" viewBox=${`0 0 ${width} ${cell}`} role="img" aria-label=${`${count} pages`}>
    ${Array.from({length: cells}, (_, i) => html`<rect key=${i} x=${i * cell} width=${cell - 3} height=${cell - 3} />`)}
    </svg>`;
}

// Split draws the events that match and those that are thrown away, on the scale of the longest one.
function Split({found, dropped, most}) {
  const wide = count => count === 0 ? 0 : Math.max(2, count / most * width);
  return html`<svg class="split" viewBox=${`0 0 ${width} 16`} preserveAspectRatio="none" role="img"
    aria-label=${`${found} match, ${dropped} thrown away`}>
    <rect class="found" width=${wide(found)} height="16" />
    <rect class="dropped" x=${wide(found)} width=${Math.max(0, Math.min(wide(dropped), width - wide(found)))}
      height="16" /></svg>`;
}

function Scan({scan, criteria, boundary, pages, events}) {
  const found = Number(scan.events), dropped = Number(scan.filtered), buffers = Number(scan.buffers);
  const looked = (scan.criteria || []).map(n => criteria[n - 1]?.map(label).join(' and ')).join(' or ') || 'all events';
  return html`<li class="scan"><p><strong>${looked}</strong></p><dl>
    <dt>Index</dt>
    <dd><span class=${scan.served ? 'badge good' : 'badge bad'}>${scan.served ? 'Index' : 'No index'}</span>
      ${' '}${scan.served && scan.criteria?.length > 0 ? html`<code>${scan.index}</code>`
        : 'read in order of positions'}
      ${!scan.served && html`<p class="muted">No index serves these keys: all events are read until the page is full.
        ${' '}<a href=${'#/indexes?boundary=' + encodeURIComponent(boundary)}>Indexes</a></p>`}</dd>
    <dt>Pages read</dt><dd><${Pages} count=${buffers} most=${pages} />${number(buffers)} of 8 kB each</dd>
    <dt>Events read</dt><dd><${Split} found=${found} dropped=${dropped} most=${events} />
      <span class="key found">${number(found)} match</span>
      <span class="key dropped">${number(dropped)} thrown away</span></dd></dl></li>`;
}

export function Explained({explained, criteria, boundary}) {
  const most = of => Math.max(1, ...explained.scans.map(of));
  const pages = most(scan => Number(scan.buffers)), events = most(scan => Number(scan.events) + Number(scan.filtered));
  return html`<ul class="plain">${explained.scans.map((scan, i) => html`<${Scan} key=${i} scan=${scan}
      criteria=${criteria} boundary=${boundary} pages=${pages} events=${events} />`)}</ul>
    <p class="muted">${milliseconds(explained.planningMs)} ms to plan,
      ${' '}${milliseconds(explained.executionMs)} ms to run,
      ${' '}${number(explained.buffers)} pages in all</p>`;
}
