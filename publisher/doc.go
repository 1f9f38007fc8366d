// Package publisher brings committed events to their readers: from PostgreSQL, where they are the truth, to a JetStream
// stream for each boundary, which is a copy of the latest ones, and from both to subscribers. DESIGN.md says why it is
// built so.
//
//	save_requests ──▶ {boundary}_orisun_es_event ──▶ outbox ──▶ orisun.events.{boundary}.* ──▶ Feed ──▶ subscribers
//	                                                │                      └──▶ stream ORISUN_{boundary} ▲
//	                                                └────────────── pages ───────────────────────────────┘
//
// The writing side is Leases (lease.go), Publisher with one outbox a boundary (outbox.go), which takes a stream over
// (takeover.go) and sends events into a pipeline (pipeline.go). What a message looks like is in stream.go.
//
// # Rules of the writing side
//
//   - Which boundaries there are is PostgreSQL's registry to say; it is looked at every second.
//   - One node publishes a boundary: the one that holds the lease 'publisher', an advisory lock of its lease
//     connection.
//   - Events are published in the order of their positions, each once, each with the global_id of the event before it.
//   - Each message expects the stream's last sequence, and each but a pipeline's first the id of the message before it.
//     JetStream refuses what does not fit, so two owners, a lost message, a foreign message or a stream that was
//     replaced can neither double nor skip an event.
//   - Where the stream ends is what the stream says. The checkpoint in PostgreSQL counts only while the stream is
//     empty.
//   - Nothing waits for JetStream but the outbox itself: a save is acknowledged when PostgreSQL has committed it.
//   - An event too large for a message holds its place as a stub, header orisun-truncated, without data and metadata.
//
// # States of an outbox
//
//	standby ──lease──▶ taking over ──end found──▶ publishing ──no event left──▶ waiting for a hint, at most a second
//	   ▲                 ▲      │                    │   ▲                          │
//	   │                 │      └──any error─────────┤   └──────────────────────────┘
//	   │                 └────────backoff────────────┘
//	   └───────────────lease lost, from any state
//
// # Failures
//
//   - The owner dies, or its lease connection does: PostgreSQL ends the session, another node has the lease within a
//     second, and goes on after the stream's last message.
//   - The owner is stopped (SIGSTOP) or cut off: another node has PostgreSQL end its session after five heartbeats that
//     did not come. When it goes on, what it still sends does not fit the stream any more.
//   - An acknowledgement is lost, JetStream is away, the stream is deleted or a foreign message is in it: the
//     outbox takes over again, with a backoff from 10 ms to 5 s. It logs once when that begins and once when it ends.
//   - There are too few nodes for all copies of a stream: it has one, and gets the others when they can be placed.
//   - The stream is purged: it goes on with the next event.
//   - JetStream loses messages in the midst of the stream, as it may when a copy's files were deleted and another copy
//     is away: the stream is made to begin behind them at the next takeover, or within ten seconds. Until then its
//     readers see the gap by the predecessor that each message names.
//   - The stream's files are lost: a new stream goes on after the checkpoint. Events before it are in PostgreSQL only.
//   - The stream's files break while it runs (deleted, a disk that was full): JetStream answers nothing more, or that
//     the stream ends elsewhere than it says. After two such pipelines, some ten seconds, a new stream goes on after
//     the event with which it ended.
//   - PostgreSQL is restored from an older backup: the stream's last message is not, or not the same, in the log. The
//     stream is recreated.
//   - PostgreSQL is away: no lease, so no node publishes; as no save succeeds either, nothing is missed.
package publisher
