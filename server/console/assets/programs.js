// Programs that save under a context, by language. They run as they are, once the words in capitals are replaced.
import {request} from './criteria.js';
import {authority, grpc, tls} from './commands.js';

const quote = JSON.stringify;
const conflict = 'the context changed: read it again, and decide again';

const criterionInGo = tags => 'client.' + tags.map(tag => `Where(${quote(tag.key)}, ${quote(tag.value)})`).join('.');

const inGo = (boundary, criteria, last) => `package main

import (
	"context"
	"errors"
	"log"

	"github.com/oexza/orisun/client"
)

func main() {
	c, err := client.Dial(${quote(`${tls ? 'grpcs' : 'grpc'}://USERNAME:PASSWORD@${grpc()}`)}${
  tls ? `, client.WithCAFile(${quote(authority)})` : ''})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	criteria := client.Any(
${criteria.map(tags => `		${criterionInGo(tags)},\n`).join('')}	)
	seen := client.Position{${last ? `TransactionID: ${last.transactionId}, GlobalID: ${last.globalId}` : ''}}
	_, err = c.Save(context.Background(), ${quote(boundary)}, client.IfUnchanged(criteria, seen),
		client.NewEvent{ID: "CHOOSE-ONE", Type: "TYPE", Data: map[string]any{}})
	if errors.Is(err, client.ErrConflict) {
		log.Fatal("${conflict}")
	}
	if err != nil {
		log.Fatal(err)
	}
}
`;

const inNode = (url, body) => `${tls ? `// Run it with NODE_EXTRA_CA_CERTS=${authority}.\n` : ''}\
const answer = await fetch(${quote(url)}, {
  method: 'POST',
  headers: {'Content-Type': 'application/json', Authorization: 'Basic ' + btoa('USERNAME:PASSWORD')},
  body: JSON.stringify(${body.replaceAll('\n', '\n  ')}),
});
if (answer.status === 409) throw new Error('${conflict}');
if (!answer.ok) throw new Error(await answer.text());
`;

const inPython = (url, body) => `${tls ? `# Run it with SSL_CERT_FILE=${authority}.\n` : ''}\
import base64, sys, urllib.error, urllib.request

request = urllib.request.Request(${quote(url)}, method="POST", headers={
    "Content-Type": "application/json",
    "Authorization": "Basic " + base64.b64encode(b"USERNAME:PASSWORD").decode(),
}, data=r"""${body}""".encode())
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    sys.exit("${conflict}" if error.code == 409 else error.read().decode())
`;

export function programs(boundary, criteria, last) {
  const body = JSON.stringify({boundary, query: {
    expected_position: last ?? {transactionId: '-1', globalId: '-1'}, ...request(criteria)},
    events: [{event_id: 'CHOOSE-ONE', event_type: 'TYPE', data: {}}]}, null, 2);
  const url = location.origin + '/orisun.EventStore/SaveEvents';
  return {
    Go: inGo(boundary, criteria, last), Node: inNode(url, body), Python: inPython(url, body), JSON: body,
  };
}
