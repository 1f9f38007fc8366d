// Opens accounts and moves money between them, as examples/transfer does in Go: it reads all events about the accounts,
// decides, saves its own event, and decides once more when another one about them came meanwhile.
//
//   npm install
//   node transfer.js open alice 100
//   node transfer.js alice bob 30
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

const { UNAUTHENTICATED, UNAVAILABLE, ALREADY_EXISTS } = grpc.status
const deadline = Date.now() + 30_000 // of the whole command
const pause = 100 // at most
const jitter = () => new Promise((resolve) => setTimeout(resolve, pause * Math.random()))

let token = '' // after the first call it stands for the password
function once (method, request) {
  const metadata = new grpc.Metadata()
  token ? metadata.set('x-auth-token', token) : metadata.set('authorization', basic)
  return new Promise((resolve, reject) => {
    store[method](request, metadata, { deadline }, (err, answer) => err ? reject(err) : resolve(answer))
      .on('metadata', (header) => { token = header.get('x-auth-token')[0] || token })
  })
}

// UNAVAILABLE is repeated until the deadline, saves too: they are idempotent.
async function call (method, request) {
  for (;;) {
    try {
      return await once(method, request)
    } catch (err) {
      if (err.code === UNAUTHENTICATED && token) token = ''
      else if (err.code !== UNAVAILABLE || Date.now() + pause > deadline) throw err
      await jitter()
    }
  }
}

function fold (balances, type, { account, balance, from, to, amount }) {
  const add = (name, cents) => balances.set(name, (balances.get(name) || 0) + cents)
  if (type === 'AccountOpened') {
    add(account, balance)
  } else {
    add(from, -amount)
    add(to, amount)
  }
}

// decide is the rule: an account is opened once, and pays only what it has.
function decide (balances, from, to, amount) {
  const opening = from === 'open'
  if (opening && balances.has(to)) throw new Error(`account ${to} is open already`)
  if (opening && amount >= 0 && to) return { type: 'AccountOpened', data: { account: to, balance: amount } }
  if (opening || amount <= 0 || from === to) {
    throw new Error('the amount must be positive, and the accounts must differ and have names')
  }
  if (!balances.has(from) || !balances.has(to)) throw new Error(`${from} and ${to} are not both open accounts`)
  if (balances.get(from) < amount) throw new Error(`the balance does not suffice: ${from} has ${balances.get(from)}`)
  if (!Number.isSafeInteger(balances.get(to) + amount)) throw new Error(`the balance of ${to} becomes too large`)
  return { type: 'MoneyTransferred', data: { from, to, amount } }
}

async function run (from, to, cents) {
  const criteria = [from, to].flatMap((value) =>
    ['account', 'from', 'to'].map((key) => ({ tags: [{ key, value }] })))
  const id = randomUUID() // the same in each attempt: retries have priority
  const balances = new Map()
  let seen = { transaction_id: '-1', global_id: '-1' }
  for (;;) {
    for (let full = true; full;) { // only what is new since the last attempt
      const page = { boundary, query: { criteria }, after_position: seen, count: 1000 }
      const { events = [] } = await call('GetEvents', page)
      for (const event of events) {
        fold(balances, event.event_type, JSON.parse(event.data))
        seen = event.position
      }
      full = events.length === 1000
    }
    const { type, data } = decide(balances, from, to, cents)
    try {
      await call('SaveEvents', {
        boundary,
        query: { expected_position: seen, subset_query: { criteria } },
        events: [{ event_id: id, event_type: type, data: JSON.stringify(data), metadata: '{}' }],
      })
      return console.log(`${to} has ${(balances.get(to) || 0) + cents}`)
    } catch (err) {
      if (err.code !== ALREADY_EXISTS) throw err
      await jitter() // CONTEXT_CHANGED
    }
  }
}

async function main (args) {
  const cents = Number(args[2])
  if (args.length !== 3 || !/^-?\d+$/.test(args[2]) || !Number.isSafeInteger(cents)) {
    throw new Error('usage: open ACCOUNT CENTS, or FROM TO CENTS; CENTS is a whole number below 2^53')
  }
  await run(args[0], args[1], cents)
}

main(process.argv.slice(2))
  .catch((err) => {
    console.error('transfer:', 'code' in err ? `${address}: ${err.message}` : err.message)
    process.exitCode = 1
  })
  .finally(() => store.close())
