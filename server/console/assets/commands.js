// Commands for a shell and the addresses in them: HTTP as this page, gRPC at the port that the session reports.
import {html} from './vendor/htm-preact.js';

export const tls = location.protocol === 'https:';
let port = '';
export const setGRPCPort = number => { port = number; };
export const grpc = () => `${location.hostname}:${port}`;

// authority is the file with the authority of the server's certificate, as commands name it.
export const authority = 'ca.pem';

export const Authority = () => tls && html`<p class="muted"><code>${authority}</code> holds the authority that signed
  the server's certificate. Leave the option out if your system trusts it.</p>`;

const quote = text => `'${text.replaceAll("'", `'\\''`)}'`;

export const curl = (rpc, body) => `curl -u USERNAME ${tls ? `--cacert ${authority} ` : ''}` +
  `-H 'Content-Type: application/json' ${location.origin}/orisun.${rpc} -d ${quote(JSON.stringify(body))}`;

export const grpcurl = (rpc, body) => `grpcurl ${tls ? `-cacert ${authority}` : '-plaintext'} ` +
  `-H "Authorization: Basic $(printf 'USERNAME:PASSWORD' | base64)" -d ${quote(JSON.stringify(body))} ` +
  `${grpc()} orisun.${rpc}`;

export const orisun = command =>
  `orisun ${command} --server ${grpc()} ${tls ? `--cacert ${authority} ` : ''}--user USERNAME --ask-password`;
