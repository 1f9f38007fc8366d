// The boundary that a page is about.
import {html} from './vendor/htm-preact.js';
import {boundaryNames} from './api.js';
import {Empty, Loading, Problem, useLoad} from './ui.js';

// useBoundary is the boundary of the address, or else the first one. Its name is empty while none is known. The names
// are null where any may be typed.
export function useBoundary({may, query}) {
  const names = useLoad(signal => boundaryNames(may, signal), []);
  const first = names.value?.find(name => name !== 'orisun_admin');
  return {names, name: query.get('boundary') || first || ''};
}

// Choose is a list where the names are known, or else a field.
export const Choose = ({of: {names: {value: names = []}, name}, onChange}) => html`<label>Boundary ${names === null
  ? html`<input name="boundary" value=${name} onChange=${e => onChange(e.target.value)} placeholder="name" />`
  : html`<select name="boundary" value=${name} onChange=${e => onChange(e.target.value)}>
      ${!names.includes(name) && html`<option value=${name}>${name || 'choose …'}</option>`}
      ${names.map(one => html`<option key=${one} value=${one}>${one}</option>`)}</select>`}</label>`;

// NoBoundary says what to do where there is no boundary to show.
export function NoBoundary({of: {names, name}, may}) {
  if (name) return html`<${Problem} error=${names.error} />`;
  if (names.value === undefined) return html`<${Loading} state=${names} />`;
  if (names.value === null) return html`<${Empty} title="Which boundary?"><p>Write its name above.</p><//>`;
  return html`<${Empty} title="No boundary yet"><p>A boundary holds events. ${may.administer
    ? html`<a href="#/boundaries">Create the first one</a>.` : 'Ask an admin to create one.'}</p><//>`;
}
