// The frame: session, navigation, keyboard. Pages are chosen by the hash: #/events?boundary=orders.
import {html, render, useEffect, useRef, useState} from './vendor/htm-preact.js';
import {logIn, logOut, onSessionLost, rights, session} from './api.js';
import {Dialog, Form, Problem} from './ui.js';
import {watch} from './nodes.js';
import {Overview} from './pages/overview.js';
import {Boundaries} from './pages/boundaries.js';
import {Events} from './pages/events.js';
import {Playground} from './pages/playground.js';
import {Conflicts} from './pages/conflicts.js';
import {Indexes} from './pages/indexes.js';
import {Subscriptions} from './pages/subscriptions.js';
import {Users} from './pages/users.js';

const pages = [
  {path: 'overview', title: 'Overview', page: Overview, needs: may => may.inspect},
  {path: 'boundaries', title: 'Boundaries', page: Boundaries, needs: may => may.inspect},
  {path: 'events', title: 'Events', page: Events, needs: may => may.read, ofBoundary: true},
  {path: 'playground', title: 'Playground', page: Playground, needs: may => may.read, ofBoundary: true},
  {path: 'conflicts', title: 'Conflicts', page: Conflicts, needs: may => may.read, ofBoundary: true},
  {path: 'indexes', title: 'Indexes', page: Indexes, needs: may => may.inspect || may.named.some(may.index),
    ofBoundary: true},
  {path: 'subscriptions', title: 'Subscriptions', page: Subscriptions, needs: may => may.read, ofBoundary: true},
  {path: 'users', title: 'Users', page: Users, needs: may => may.administer},
  {path: 'account', title: 'Account', page: Users, needs: may => !may.administer},
];

// Rows are what j and k move in: rows of tables, and those of lists.
const search = 'input[type=search]', row = 'tr[tabindex], .row';
const keys = [
  {key: '/', does: 'go to the filter', needs: search}, {key: 'j', does: 'next row', needs: row},
  {key: 'k', does: 'previous row', needs: row}, {key: 'Enter', does: 'open the row', needs: row},
  {key: '?', does: 'this help'}, {key: 'Esc', does: 'close what is open'},
];

function read() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  return {path, query: new URLSearchParams(query)};
}

// go changes the parameters of the page's URL. An empty value removes one.
export function go(path, changes = {}, query = new URLSearchParams()) {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(changes)) value ? next.set(key, value) : next.delete(key);
  location.hash = `#/${path}${next.size > 0 ? '?' + next : ''}`;
}

// front is what keys act on: the dialog in front, else the page.
const front = () => [...document.querySelectorAll('dialog[open]')].at(-1) || document.querySelector('main');

function move(step) {
  const rows = [...front().querySelectorAll(row)];
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
}

function Login({reason, onLogin}) {
  const submit = async ({username, password}) => onLogin(await logIn(username, password));
  return html`<main class="login"><h1><img src="/console/icon.svg" alt="" /> Orisun</h1>
    ${reason && html`<p class="note" role="status">${reason}</p>`}
    <${Form} label="Log in" onSubmit=${submit}>
      <label>Username <input name="username" autocomplete="username" required autofocus /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
    <//></main>`;
}

function App() {
  const [user, setUser] = useState(undefined);
  const [place, setPlace] = useState(read());
  const [help, setHelp] = useState(null); // the keys, and whether the page has what they need
  const [reason, setReason] = useState();
  const [leaving, setLeaving] = useState({});
  const boundary = useRef(null); // of the pages that were seen
  boundary.current = place.query.get('boundary') || boundary.current;
  const showHelp = () => setHelp(before => before ||
    keys.map(one => ({...one, works: !one.needs || front().querySelector(one.needs) !== null})));
  const ignore = () => onSessionLost(() => {}); // calls in flight find the session ended
  const end = text => { ignore(); setReason(text); setUser(null); };
  const enter = own => { onSessionLost(end); setUser(own); };
  useEffect(() => {
    session().then(enter, () => enter(null));
    addEventListener('hashchange', () => setPlace(read()));
    addEventListener('keydown', event => {
      const typing = event.target.closest('input:not([type=checkbox]), textarea, select');
      if (typing || event.ctrlKey || event.metaKey || event.altKey || !document.querySelector('main#main')) return;
      if (event.key === '/') { event.preventDefault(); front().querySelector(search)?.focus(); }
      if (event.key === 'j') move(1);
      if (event.key === 'k') move(-1);
      if (event.key === '?') showHelp();
    });
  }, []);
  const may = user && rights(user);
  useEffect(() => may?.inspect && !leaving.busy ? watch() : undefined, [user, leaving.busy]);
  useEffect(() => { // on narrow screens
    document.querySelector('nav [aria-current]')?.scrollIntoView({inline: 'center', block: 'nearest'});
  }, [user, place.path]);
  if (user === undefined) return html`<p class="busy" role="status">Loading …</p>`;
  if (user === null) return html`<${Login} reason=${reason} onLogin=${enter} />`;
  const offered = pages.filter(page => page.needs(may));
  const current = offered.find(page => page.path === place.path) || offered[0];
  document.title = `${current.title} · Orisun`;
  const leave = async () => {
    ignore();
    setLeaving({busy: true});
    try {
      end(await logOut());
      location.hash = '';
      setLeaving({});
    } catch (error) {
      onSessionLost(end);
      setLeaving({error: new Error(`The logout failed: ${error.message}. Try again.`)});
    }
  };
  const hrefOf = ({path, ofBoundary}) =>
    `#/${path}${ofBoundary && boundary.current ? '?' + new URLSearchParams({boundary: boundary.current}) : ''}`;
  const skip = event => { event.preventDefault(); document.querySelector('main').focus(); };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <header class="top"><a class="brand" href="#/"><img src="/console/icon.svg" alt="" />Orisun</a>
      <nav aria-label="Pages">${offered.map(page => html`<a key=${page.path} href=${hrefOf(page)}
        aria-current=${page === current ? 'page' : undefined}>${page.title}</a>`)}</nav>
      <div class="user"><span>${user.username}</span><button onClick=${showHelp} aria-label="Keys">?</button>
        <button onClick=${leave} disabled=${leaving.busy}>Log out</button></div></header>
    <main id="main" tabindex="-1"><h1>${current.title}</h1><${Problem} error=${leaving.error} />
      ${leaving.busy ? html`<p class="busy" role="status">Logging out …</p>` : html`
        <${current.page} key=${current.path} path=${current.path} user=${user} may=${may} query=${place.query} />`}
    </main>
    ${help && html`<${Dialog} title="Keys" onClose=${() => setHelp(null)}><dl class="keys">
      ${help.map(({key, does, works}) => html`<dt><kbd>${key}</kbd></dt>
        <dd>${does}${!works && html`<span class="muted">, not on this page</span>`}</dd>`)}</dl><//>`}`;
}

render(html`<${App} />`, document.body);
