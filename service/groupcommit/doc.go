// Package groupcommit combines concurrent calls into one flush. A caller passes its request to Do and waits for its own
// result. A Batcher runs one flush at a time. All requests that queue meanwhile form the next flush. So callers share
// the cost of a flush (a round trip, an fsync), and no call waits for others to join it.
//
// The content of a request is opaque. Requests must be idempotent: they are retried after a failure that left their
// outcome unknown.
//
//	Do ──► the queue is full, the batcher is closed ──► ErrQueueFull, ErrClosed at once
//	 │
//	 ├── no flush runs: the caller flushes, on its own goroutine ────┐
//	 ▼                                                               ▼
//	queued ── first in, first out; the flush before has ended ──► taken ◄──────────────┐
//	 │                                                               │                 │ transient: all, after a delay
//	 │ its context ends                                              │ flush           │ any other failure: in halves
//	 ▼                                                               ▼                 │
//	gone, never sent             gone, perhaps done ◄──────────── sending ─────────────┘
//	                                          its context ends       │
//	                                                                 ▼
//	                                                             answered: a result or an error, once
//
// # Rules
//
//   - One flush is in flight. Requests are sent, and retried, in order of arrival.
//   - A lone request does not wait and changes no goroutine: latency at low concurrency is that of the flush.
//   - A batch is capped by requests, items and bytes. A request beyond a cap is sent, alone.
//   - A batcher at rest holds no goroutine and no timer.
//   - The context of a flush ends when the last of its callers has gone, or when Close stops waiting. Its deadline is
//     the latest of its callers' (none if one of them has none). Its values are those of its first caller.
//     Options.Trace gets all callers, and may put a span of the flush into that context.
//
// # Failure modes
//
//   - The queue is full: ErrQueueFull at once. The request is not stored.
//   - A caller's context ends while it is queued: it leaves the queue at once with context.Cause, and is never sent.
//   - A caller's context ends while its request is sent: Do returns at once with context.Cause. Whether the request is
//     done is unknown, and the flush goes on for the others. A caller that is alone in its flush returns when the flush
//     does. A flush must therefore return soon after its context has ended.
//   - The flush of several requests fails otherwise, panics, or returns another number of results than it got requests:
//     its halves are sent one after the other, until each request that fails is sent alone, and its caller gets the
//     error. A batch with k such requests costs about 2k·log2(n) flushes more, one in which all fail 2n - 2.
//   - The flush fails with what IsTransient accepts: requests whose callers still wait are retried, after a delay that
//     doubles from 10 ms to 250 ms. Retries end when one succeeds, when the caller's context ends (its error wraps the
//     cause and the last failure) or, for callers without a deadline, after MaxTransient. Meanwhile the queue fills up
//     to its bound.
//   - The flush of one request fails otherwise: its caller gets the error, a *PanicError if the flush panicked.
//   - The flush ends its goroutine (runtime.Goexit): all its callers get an error, and the next flush begins.
//   - Close: new calls get ErrClosed, queued ones are flushed. When its context ends first, queued calls get ErrClosed
//     and the flush is cancelled. The callers of the flush get its result, or an error that wraps ErrClosed.
//
// # Alternatives that were rejected
//
//   - A worker goroutine and a channel: two handoffs on every call, a queue that calls cannot leave, and a goroutine
//     for every boundary that was ever written to.
//   - A window of time that collects requests: it adds its length to every lone save. Under load the flush in flight is
//     the window.
//   - Skipping a large request to fill a batch with small ones behind it: the large one could starve.
package groupcommit
