import {html, useState} from '../vendor/htm-preact.js';
import {boundaryNames, call, endSession} from '../api.js';
import {Dialog, Filter, Form, Loading, Paging, opens, useLoad, usePages} from '../ui.js';

const global = [
  ['admin', 'every right, also over users'],
  ['operations', 'inspects the store; reads and saves events in every boundary'],
  ['user', 'reads and saves events in every boundary'],
];
const scoped = [
  ['read', 'reads events'], ['write', 'saves events'], ['admin', 'manages its indexes and subscriptions'],
];

const Roles = ({of}) => of.map(role => html`<span class="badge">${role}</span> `);

function Matrix({roles, names, disabled, onChange}) {
  const pages = usePages(names, name => name);
  const change = role => event => onChange(event.target.checked ? [...roles, role] : roles.filter(r => r !== role));
  const box = role => html`<input type="checkbox" aria-label=${role} checked=${roles.includes(role)}
    disabled=${disabled} onChange=${change(role)} />`;
  const wide = global.find(([role]) => roles.includes(role))?.[0];
  return html`<div class="roles"><fieldset><legend>In every boundary</legend>
      ${global.map(([role, means]) => html`<label class="check">${box(role)}
        <span><strong>${role}</strong> ${means}</span></label>`)}</fieldset>
    <${Filter} pages=${pages} label="Find a boundary" />
    <p class="muted">In one boundary: ${scoped.map(([scope, means], i) =>
      html`${i > 0 && ', '}<strong>${scope}</strong> ${means}`)}.</p>
    ${wide && html`<p class="warning">${`The role ${wide} reads and saves events in every boundary, whatever is chosen
      for single ones.`}</p>`}
    <table class="matrix"><thead><tr><th>Boundary</th>${scoped.map(([s]) => html`<th>${s}</th>`)}</tr></thead><tbody>
    ${pages.rows.map(name => html`<tr key=${name}><th>${name}</th>
      ${scoped.map(([s]) => html`<td>${box(`${s}:${name}`)}</td>`)}</tr>`)}</tbody></table>
    <${Paging} pages=${pages} /></div>`;
}

function Edit({user, names, self, onClose, onDone}) {
  const [roles, set] = useState(user.roles);
  const save = async () => {
    await call('Admin/ChangeUserRoles', {user_id: user.userId, roles});
    onDone();
    return 'Saved. The sessions of the user have ended.';
  };
  const setPassword = async ({password}) => {
    await call('Admin/SetUserPassword', {user_id: user.userId, new_password: password});
    onDone();
    return 'Set. The sessions of the user have ended.';
  };
  const endSessions = async () => {
    await call('Admin/EndUserSessions', {user_id: user.userId});
    if (self) endSession('All of your sessions have ended. Log in again.');
    return 'All sessions of the user have ended.';
  };
  const remove = async ({username}) => {
    if (username !== user.username) throw new Error(`Type ${user.username}.`);
    await call('Admin/DeleteUser', {user_id: user.userId});
    onDone();
    onClose();
  };
  return html`<${Dialog} title=${user.username} onClose=${onClose}>
    ${self && html`<p class="note">This is your own account: another admin changes its roles.</p>`}
    <${Form} label="Save roles" disabled=${self || roles.length === 0} onSubmit=${save}>
      <${Matrix} roles=${roles} names=${names} disabled=${self} onChange=${set} /><//>
    ${!self && html`<h3>Password</h3><${Form} label="Set the password" onSubmit=${setPassword}
      confirm=${`Set this password for ${user.username}? The old one and all sessions of the user end.`}>
      <label>New password <input name="password" type="password" minlength="6" required
        autocomplete="new-password" /></label><//>`}
    <h3>Sessions</h3><${Form} label="End all sessions" onSubmit=${endSessions}
      confirm=${`End all sessions of ${user.username}? Its subscriptions end, too. Programs with the password log in
        again.`} />
    ${!self && html`<h3>Delete</h3><${Form} label="Delete the user" danger onSubmit=${remove}>
      <label>Type ${user.username} to confirm <input name="username" required autocomplete="off" /></label><//>`}<//>`;
}

const Password = ({user}) => html`<section class="card"><h2>Your password</h2>
  <${Form} label="Change" onSubmit=${async ({current, next}) => {
    await call('Admin/ChangePassword', {user_id: user.userId, current_password: current, new_password: next});
    endSession('The password has changed, and all sessions have ended. Log in again.');
  }}><label>Current <input name="current" type="password" autocomplete="current-password" required /></label>
  <label>New <input name="next" type="password" autocomplete="new-password" minlength="6" required /></label>
  <//></section>`;

function Administration({user, may}) {
  const state = useLoad(async signal => {
    const [{users}, names] = await Promise.all([call('Admin/ListUsers', {}, {signal}), boundaryNames(may, signal)]);
    return {users, names: names.filter(name => name !== 'orisun_admin')};
  }, []);
  const [open, show] = useState(null);
  const [roles, setRoles] = useState([]);
  const {users = [], names = []} = state.value || {};
  const create = async fields => {
    await call('Admin/CreateUser', {...fields, roles});
    setRoles([]);
    state.reload();
    return `${fields.username} can log in.`;
  };
  const pages = usePages(users, u => `${u.username} ${u.name} ${u.roles.join(' ')}`);
  return html`<${Loading} state=${state} />
    <div class="bar"><${Filter} pages=${pages} label="Find a user" /></div>
    <div class="scroll" tabindex="0" role="region" aria-label="Users"><table>
      <thead><tr><th>Username</th><th>Name</th><th>Roles</th></tr></thead><tbody>
      ${pages.rows.map(u => html`<tr key=${u.userId} ...${opens(() => show(u))}>
        <td>${u.username}</td><td>${u.name}</td><td><${Roles} of=${u.roles} /></td></tr>`)}
    </tbody></table></div><${Paging} pages=${pages} />
    <section class="card"><h2>Create a user</h2>
      <${Form} label="Create" disabled=${roles.length === 0} onSubmit=${create}>
      <label>Name <input name="name" required /></label>
      <label>Username <input name="username" minlength="3" required autocomplete="off" /></label>
      <label>Password <input name="password" type="password" minlength="6" required autocomplete="new-password" />
      </label>
      <${Matrix} roles=${roles} names=${names} onChange=${setRoles} /><//></section>
    ${open && html`<${Edit} user=${open} names=${names} self=${open.userId === user.userId}
      onClose=${() => show(null)} onDone=${state.reload} />`}`;
}

// Users administers users for admins. Others see their own account.
export const Users = ({user, may}) => html`${may.administer && html`<${Administration} user=${user} may=${may} />`}
  ${!may.administer && html`<p>Roles: <${Roles} of=${user.roles} /></p>`}<${Password} user=${user} />`;
