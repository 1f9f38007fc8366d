// What all pages are made of.
import {html, useState, useEffect, useRef} from './vendor/htm-preact.js';

export const number = value => Number(value).toLocaleString('en');
export const rate = value => value >= 100 ? number(Math.round(value)) : value.toFixed(1);
export const bytes = value => {
  let amount = Number(value), unit = 0;
  while (amount >= 1024 && unit < 4) { amount /= 1024; unit++; }
  const text = amount >= 100 || unit === 0 ? Math.round(amount) : amount.toFixed(1);
  return `${text} ${['B', 'kB', 'MB', 'GB', 'TB'][unit]}`;
};
export const milliseconds = value => value < 1 ? value.toFixed(2) : rate(value);
// written is a position as commands take it.
export const written = position => `${position.transactionId}/${position.globalId}`;
const clock = new Intl.DateTimeFormat('sv', {dateStyle: 'short', timeStyle: 'medium'});
export const time = text => text ? clock.format(new Date(text)) : '–';

// pretty indents JSON without changing its numbers, which may be larger than JavaScript's.
export function pretty(text) {
  let out = '', depth = 0;
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g) || [];
  const line = () => { out += '\n' + '  '.repeat(depth); };
  tokens.forEach((token, i) => {
    const empty = '}]'.includes(tokens[i + 1]);
    if ('{['.includes(token)) { out += token; if (!empty) { depth++; line(); } }
    else if ('}]'.includes(token)) { if (!'{['.includes(tokens[i - 1])) { depth--; line(); } out += token; }
    else if (token === ',') { out += token; line(); }
    else out += token === ':' ? ': ' : token;
  });
  return out;
}

// useLoad runs a call that can be cancelled, again when its dependencies change. A call that fails keeps the value of
// an earlier one with the same dependencies. poll is a reload that does nothing while a call is in flight.
export function useLoad(load, dependencies) {
  const [state, set] = useState({loading: true});
  const [turn, again] = useState(0);
  const controller = useRef(null); // of the latest call
  const busy = useRef(true); // a call is in flight, or begins with the next effect
  useEffect(() => {
    const own = controller.current = new AbortController();
    busy.current = true;
    set(({value, of}) => ({value, of, loading: true})); // of: the dependencies of the value
    const end = next => {
      if (own !== controller.current) return;
      busy.current = false;
      set(own.signal.aborted ? {cancelled: true} : next);
    };
    load(own.signal).then(
      value => end({value, of: dependencies}),
      error => end(({value, of}) => same(of, dependencies) ? {value, of, error} : {error}));
    return () => { controller.current = null; own.abort(); };
  }, [...dependencies, turn]);
  const reload = () => { busy.current = true; again(before => before + 1); };
  return {...state, reload, poll: () => busy.current || reload(), cancel: () => controller.current?.abort()};
}

const same = (some, others) => some?.every((one, i) => one === others[i]);

// Loading shows progress with a button to cancel, an error, or nothing. Its element is always there, as Preact would
// move its neighbours otherwise.
export const Loading = ({state}) => html`<div>
  ${state.loading && html`<p class="busy" role="status">Loading …
    ${' '}<button onClick=${state.cancel}>Cancel</button></p>`}
  ${state.cancelled && html`<p class="note" role="status">Cancelled. <button onClick=${state.reload}>Load</button></p>`}
  <${Problem} error=${state.error} /></div>`;

export const Problem = ({error}) => error && html`<p class="problem" role="alert">${error.message}</p>`;

// copySelected copies over plain HTTP, where browsers have no navigator.clipboard. The field is beside the button, as
// an open dialog leaves the rest of the page inert.
function copySelected(button, text) {
  const field = document.createElement('textarea');
  field.className = 'offscreen';
  field.value = text;
  button.after(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  button.focus();
  return done;
}

export function Copy({text}) {
  const [label, set] = useState('Copy');
  const copy = async event => {
    const button = event.currentTarget;
    const done = navigator.clipboard
      ? await navigator.clipboard.writeText(text).then(() => true, () => false) : copySelected(button, text);
    set(done ? 'Copied' : 'Copy failed');
    setTimeout(() => set('Copy'), 1500);
  };
  return html`<button onClick=${copy}>${label}</button>`;
}

// Command is a text to copy, under the name of its program.
export const Command = ({text, program}) => html`${program && html`<p class="muted">${program}</p>`}
  <div class="command"><pre tabindex="0">${text}</pre><${Copy} text=${text} /></div>`;

// opens are the properties of a row that a click or Enter opens. Without preventDefault, the same Enter would press the
// first button of the dialog.
export const opens = open => ({tabIndex: 0, onClick: open, onKeyDown: event => {
  if (event.key !== 'Enter' || event.target !== event.currentTarget) return;
  event.preventDefault();
  open();
}});

export const Empty = ({title, children}) => html`<section class="empty"><h2>${title}</h2>${children}</section>`;

export const Stat = ({label, value, hint}) => html`
  <div class="stat"><span>${label}</span><strong>${value}</strong>${hint && html`<small>${hint}</small>`}</div>`;

// MissingNodes names the nodes that the answer of a cluster lacks. note is about those that do not run.
export const MissingNodes = ({found, note}) => html`
  ${found.unanswered.map(name => html`<p key=${name} class="warning">${`Node ${name} does not answer.`}</p>`)}
  ${found.disconnected.length > 0 && html`<p class="muted">Without those of disconnected nodes:
    ${' '}${found.disconnected.map(({name, since}) => `${name} since ${time(since)}`).join(', ')}. ${note}</p>`}`;

const rowsOfPage = 50;

// usePages cuts a long list into pages of 50. textOf is what the filter of Pages searches in.
export function usePages(all, textOf) {
  const [filter, setFilter] = useState('');
  const [wanted, setPage] = useState(0);
  const found = filter ? all.filter(one => textOf(one).toLowerCase().includes(filter.toLowerCase())) : all;
  const last = Math.max(0, Math.ceil(found.length / rowsOfPage) - 1), page = Math.min(wanted, last);
  return {
    rows: found.slice(page * rowsOfPage, (page + 1) * rowsOfPage), page, last, setPage, filter, found: found.length,
    setFilter: text => { setFilter(text); setPage(0); }, long: all.length > rowsOfPage,
  };
}

// Filter and Paging are shown for a list of more than one page.
export const Filter = ({pages, label}) => pages.long && html`<label>${label}
  <input type="search" value=${pages.filter} placeholder="part of the name"
    onInput=${e => pages.setFilter(e.target.value)}
    onKeyDown=${e => e.key === 'Enter' && e.preventDefault()} /></label>`;

const rangeOf = ({page, rows, found}) => found === 0 ? 'None found'
  : `${number(page * rowsOfPage + 1)} to ${number(page * rowsOfPage + rows.length)} of ${number(found)}`;

export const Paging = ({pages}) => pages.long && html`<nav class="bar paging" aria-label="Paging">
  <button type="button" disabled=${pages.page === 0} onClick=${() => pages.setPage(pages.page - 1)}>← Previous</button>
  <span class="muted" role="status">${rangeOf(pages)}</span>
  <button type="button" disabled=${pages.page === pages.last} onClick=${() => pages.setPage(pages.page + 1)}>
    Next →</button></nav>`;

// Form calls a function with its fields, and shows why it failed. A cancellable one passes a signal, too, and ends the
// call when the page is left. confirm is a text to confirm before the call.
export function Form({onSubmit, label, danger, disabled, cancellable, confirm, children}) {
  const [state, set] = useState({});
  const controller = useRef(null); // of a call that can be cancelled
  useEffect(() => () => controller.current?.abort(), []);
  const submit = async event => {
    event.preventDefault();
    if (confirm && !state.asks) { set({asks: true}); return; }
    const form = event.target;
    if (cancellable) controller.current = new AbortController();
    const own = controller.current;
    set({busy: true});
    try {
      const note = await onSubmit(Object.fromEntries(new FormData(form)), own?.signal);
      form.reset();
      set({note});
    } catch (error) { set(own?.signal.aborted ? {note: 'Cancelled.'} : {error}); }
  };
  return html`<form onSubmit=${submit}>${children}
    ${state.asks && html`<p class="warning" role="alert">${confirm}</p>`}
    <button class=${danger || state.asks ? 'danger' : confirm ? '' : 'primary'} disabled=${state.busy || disabled}>
      ${state.busy ? 'Working …' : confirm && !state.asks ? label + ' …' : label}</button>
    ${state.asks && html`<button type="button" onClick=${() => set({})}>Cancel</button>`}
    ${state.busy && cancellable &&
      html`<button type="button" onClick=${() => controller.current.abort()}>Cancel</button>`}
    <${Problem} error=${state.error} />${state.note && html`<p class="note" role="status">${state.note}</p>`}</form>`;
}

// Dialog is in front of the page until it is closed. Then the focus returns to where it was.
export function Dialog({title, onClose, children}) {
  const dialog = useRef(null);
  useEffect(() => {
    const own = dialog.current, before = document.activeElement;
    own.showModal();
    return () => { if (own.open) before.focus(); }; // it was removed without being closed
  }, []);
  return html`<dialog ref=${dialog} aria-label=${title} onClose=${onClose}>
    <header><h2>${title}</h2><button onClick=${() => dialog.current.close()} aria-label="Close">✕</button></header>
    ${children}</dialog>`;
}
