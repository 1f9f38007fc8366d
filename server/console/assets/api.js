import {setGRPCPort} from './commands.js';

// The store's HTTP API. The session is an HttpOnly cookie, which counts only together with the header below.
const mark = {'X-Orisun-Console': '1'};

export class CallError extends Error {
  constructor(status, answer) {
    super(answer.message || `the server answered ${status}`);
    this.status = status;
    this.code = answer.code;
  }
}

let lost = () => {};
// onSessionLost sets what happens when the server no longer accepts the session.
export const onSessionLost = handler => { lost = handler; };
// endSession shows the login, with a reason.
export const endSession = reason => lost(reason);

async function send(path, body, {signal, headers = {}} = {}) {
  const response = await fetch(path, {
    method: 'POST', body: JSON.stringify(body), signal,
    headers: {...mark, 'Content-Type': 'application/json', ...headers},
  });
  if (response.ok) return response;
  // A wrong current password is 401, too.
  if (response.status === 401 && !headers.Authorization && !await session()) lost('The session has ended.');
  throw new CallError(response.status, await response.json().catch(() => ({})));
}

// call calls an RPC, such as EventStore/GetEvents.
export const call = async (rpc, body = {}, options) => (await send('/orisun.' + rpc, body, options)).json();

// stream calls onLines with the messages of an RPC that streams, each as a line of JSON, until the signal ends it. An
// error is the last one.
export async function stream(rpc, body, signal, onOpen, onLines) {
  const response = await send('/orisun.' + rpc, body, {signal});
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    const last = lines.at(-1) || '{}';
    if (last.startsWith('{"error"')) throw new CallError(0, JSON.parse(last).error);
    onLines(lines.filter(Boolean));
  }
}

export async function logIn(username, password) {
  const bytes = new TextEncoder().encode(`${username}:${password}`);
  const Authorization = 'Basic ' + btoa(String.fromCharCode(...bytes));
  await send('/orisun.EventStore/Ping', {}, {headers: {Authorization}});
  const user = await session();
  if (!user) throw new Error('The server began no session. Try again.');
  return user;
}

// session is the user of the cookie, or null.
export async function session() {
  const response = await fetch('/console/session', {headers: mark});
  if (!response.ok) return null;
  const user = await response.json();
  setGRPCPort(user.grpcPort);
  return user;
}

// logOut ends the session, and returns what went wrong.
export async function logOut() {
  const response = await fetch('/console/session', {method: 'DELETE', headers: mark});
  if (response.ok) return undefined;
  const {message} = await response.json().catch(() => ({}));
  return `This browser has no session now, but the server still accepts it: ${message || response.status}`;
}

// rights says what a page offers to a user. The server decides by itself what it answers.
export function rights(user) {
  const has = role => user.roles.includes(role);
  const admin = has('admin');
  const operations = admin || has('operations');
  return {
    administer: admin,
    inspect: operations,
    read: operations || has('user') || user.roles.some(role => role.startsWith('read:')),
    index: boundary => admin || has('admin:' + boundary),
    everywhere: has('user'),
    named: [...new Set(user.roles.filter(role => role.includes(':')).map(role => role.split(':')[1]))].sort(),
  };
}

// boundaryNames lists what the user may choose; null where any name may be typed.
export async function boundaryNames(may, signal) {
  if (may.inspect) return (await call('Admin/ListBoundaries', {}, {signal})).boundaries.map(b => b.name);
  return may.named.length > 0 && !may.everywhere ? may.named : null;
}
