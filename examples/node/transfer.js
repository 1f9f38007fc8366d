// Moves money between two accounts, as examples/transfer does in Go: read the context, decide, save, and begin again
// when the context has changed.
//
//   npm install
//   node transfer.js open alice 100
//   node transfer.js transfer alice bob 30
//
// ORISUN_ADDRESS, ORISUN_USER (user:password) and ORISUN_BOUNDARY say where.
'use strict'
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')
const { randomUUID } = require('node:crypto')
const path = require('node:path')

const env = process.env
const address = env.ORISUN_ADDRESS || 'localhost:5005'
const boundary = env.ORISUN_BOUNDARY || 'orisun_test_1'
const basic = 'Basic ' + Buffer.from(env.ORISUN_USER || 'admin:changeit').toString('base64')

// longs: String, since positions are 64-bit numbers, which a JavaScript number cannot hold.
const protocol = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, '../../proto/eventstore.proto'), {
  keepCase: true, longs: String, enums: String,
})).orisun
const store = new protocol.EventStore(address, grpc.credentials.createInsecure())
const nothing = { transaction_id: '-1', global_id: '-1' }

let token = '' // after the first call it stands for the password
function once (method, request) {
  const metadata = new grpc.Metadata()
  token ? metadata.set('x-auth-token', token) : metadata.set('authorization', basic)
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + 30_000, waitForReady: true }
    store[method](request, metadata, options, (err, answer) => err ? reject(err) : resolve(answer))
      .on('metadata', (header) => { token = header.get('x-auth-token')[0] || token })
  })
}

// UNAVAILABLE may be sent again without thinking, saves too: they are idempotent.
async function call (method, request) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await once(method, request)
    } catch (err) {
      if (err.code === grpc.status.UNAUTHENTICATED && token) token = ''
      else if (err.code !== grpc.status.UNAVAILABLE || attempt === 10) throw err
      await new Promise((resolve) => setTimeout(resolve, 100 * Math.random() * 2 ** attempt))
    }
  }
}

const about = (...accounts) => accounts.flatMap((account) =>
  ['account', 'from', 'to'].map((key) => ({ tags: [{ key, value: account }] })))

const save = (criteria, seen, id, type, data) => call('SaveEvents', {
  boundary,
  query: { expected_position: seen, subset_query: { criteria } },
  events: [{ event_id: id, event_type: type, data: JSON.stringify(data), metadata: '{}' }],
})

async function open (account, balance) {
  if (!account || balance < 0) throw new Error('an account needs a name, and a balance that is not negative')
  try {
    await save(about(account), nothing, randomUUID(), 'AccountOpened', { account, balance })
  } catch (err) {
    throw err.code === grpc.status.ALREADY_EXISTS ? new Error(`account ${account} is open already`) : err
  }
}

async function transfer (from, to, amount) {
  if (amount <= 0 || from === to) throw new Error('the amount must be positive, and the accounts must differ')
  const criteria = about(from, to)
  const id = randomUUID() // the same in each attempt: retries have priority
  const balances = {}
  let seen = nothing
  for (;;) {
    for (let more = true; more;) { // only what is new since the last attempt
      const { events = [] } = await call('GetEvents', {
          boundary, query: { criteria }, after_position: seen, count: 1000,
        })
      for (const event of events) {
        const data = JSON.parse(event.data)
        if (event.event_type === 'AccountOpened') {
          balances[data.account] = (balances[data.account] || 0) + data.balance
        } else if (event.event_type === 'MoneyTransferred') {
          balances[data.from] -= data.amount
          balances[data.to] += data.amount
        }
        seen = event.position
      }
      more = events.length === 1000
    }
    for (const account of [from, to]) {
      if (balances[account] === undefined) throw new Error(`there is no account ${account}`)
    }
    if (balances[from] < amount) throw new Error(`the balance does not suffice: ${from} has ${balances[from]}`)
    if (!Number.isSafeInteger(balances[to] + amount)) throw new Error(`the balance of ${to} becomes too large`)
    try {
      await save(criteria, seen, id, 'MoneyTransferred', { from, to, amount })
      return console.log(`${from} has ${balances[from] - amount}, ${to} has ${balances[to] + amount}`)
    } catch (err) {
      if (err.code !== grpc.status.ALREADY_EXISTS) throw err // CONTEXT_CHANGED
    }
  }
}

async function run ([command, ...args]) {
  const cents = Number(args.at(-1) || NaN)
  const takes = { open: 2, transfer: 3 }[command]
  if (args.length !== takes || !Number.isSafeInteger(cents)) {
    throw new Error('usage: open ACCOUNT CENTS, or transfer FROM TO CENTS; CENTS is a whole number below 2^53')
  }
  await (command === 'open' ? open(args[0], cents) : transfer(args[0], args[1], cents))
}

run(process.argv.slice(2))
  .catch((err) => {
    console.error('transfer:', 'code' in err ? `${address}: ${err.message}` : err.message)
    process.exitCode = 1
  })
  .finally(() => store.close())
