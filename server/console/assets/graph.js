// The events around an event as a graph: those of the same save, its causes and effects, and those of its correlation.
import {html, useEffect, useRef} from './vendor/htm-preact.js';
import {opens} from './ui.js';

const most = 24, width = 200, height = 46, box = 36;

// links reads the ids in an event's metadata, in the spellings that are in use.
export function links(event) {
  const metadata = JSON.parse(event.metadata || '{}');
  const first = (...names) => names.map(name => metadata[name]).find(value => value !== undefined && value !== null);
  const text = value => value === undefined ? undefined : String(value);
  return {
    causation: text(first('causation_id', 'causationId', '$causationId')),
    correlation: text(first('correlation_id', 'correlationId', '$correlationId')),
  };
}

// related returns those of events that belong to one of them, by position.
export function related(events, center) {
  const all = events.map(event => ({event, ...links(event)}));
  const own = all.find(node => node.event.eventId === center.eventId) || {event: center, ...links(center)};
  const found = new Map([[center.eventId, own]]);
  const belongs = node => node.event.position.transactionId === center.position.transactionId ||
    own.correlation !== undefined && node.correlation === own.correlation ||
    found.has(node.causation) || [...found.values()].some(other => other.causation === node.event.eventId);
  for (let before = 0; before < found.size;) { // until nothing more is found
    before = found.size;
    for (const node of all) if (!found.has(node.event.eventId) && belongs(node)) found.set(node.event.eventId, node);
  }
  return [...found.values()].sort((a, b) => Number(a.event.position.globalId) - Number(b.event.position.globalId));
}

const short = text => text.length > 22 ? text.slice(0, 21) + '…' : text;

// Graph draws causes left of their effects.
export function Graph({nodes, center, onSelect}) {
  const shown = nodes.slice(0, most), place = new Map(), rows = [];
  for (const node of shown) { // a cause has the lower position, so that it has its place already
    const column = place.has(node.causation) ? place.get(node.causation).column + 1 : 0;
    rows[column] = (rows[column] ?? -1) + 1;
    place.set(node.event.eventId, {column, x: column * width + 2, y: rows[column] * height + 4});
  }
  const wide = Math.max(...[...place.values()].map(at => at.x)) + width - 30;
  const high = Math.max(...rows) * height + height;
  const view = useRef(null), own = place.get(center.eventId);
  useEffect(() => { // on narrow screens
    if (own) view.current.scrollLeft = own.x + (width - view.current.clientWidth) / 2;
  }, [center.eventId, own?.x]);
  return html`<div class="graph" ref=${view} tabindex="0" role="region" aria-label="Related events">
    <svg viewBox=${`0 0 ${wide} ${high}`} width=${wide} height=${high}>
      ${shown.filter(node => place.has(node.causation)).map(node => {
        const from = place.get(node.causation), to = place.get(node.event.eventId);
        const x = from.x + width - 36, y = from.y + box / 2, end = to.y + box / 2;
        return html`<path key=${node.event.eventId}
          d=${`M${x} ${y} C${x + 18} ${y} ${to.x - 18} ${end} ${to.x} ${end}`} />`;
      })}
      ${shown.map(({event}) => {
        const at = place.get(event.eventId);
        return html`<g key=${event.eventId} class=${at === own ? 'own' : ''} role="button"
          transform=${`translate(${at.x} ${at.y})`}
          aria-label=${`${event.eventType} at ${event.position.globalId}`} ...${opens(() => onSelect(event))}>
          <rect width=${width - 36} height=${box} rx="6" /><text x="10" y="16">${short(event.eventType)}</text>
          <text class="position" x="10" y="30">${event.position.globalId}</text></g>`;
      })}</svg></div>
    ${nodes.length > most && html`<p class="muted">${nodes.length - most} more are not drawn.</p>`}`;
}
