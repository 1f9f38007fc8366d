package groupcommit

import (
	"context"
	"time"
)

// call is a Do in progress. Its caller owns its fields until it is queued; from then on the batcher's mutex guards
// state, err and the links. The last user recycles it: the caller when it is answered or leaves the queue, the flusher
// when the caller has gone.
type call[Request, Result any] struct {
	ctx          context.Context
	request      Request
	items, bytes int
	since        time.Time

	state  state
	result Result
	err    error         // the last transient failure; the answer once answered
	done   chan struct{} // buffers one value, so that answering never blocks

	next, previous *call[Request, Result]
}

// state is the position of a call in the diagram of the package's documentation.
type state uint8

const (
	queued state = iota
	taken
	sending
	answered
	gone
)

// queue holds the calls that wait for a flush, in order of arrival; any of them can leave.
type queue[Request, Result any] struct {
	first, last     *call[Request, Result]
	requests, bytes int
}

func (q *queue[Request, Result]) push(c *call[Request, Result]) {
	c.previous = q.last
	if q.last == nil {
		q.first = c
	} else {
		q.last.next = c
	}
	q.last = c
	q.requests++
	q.bytes += c.bytes
}

func (q *queue[Request, Result]) remove(c *call[Request, Result]) {
	if c.previous == nil {
		q.first = c.next
	} else {
		c.previous.next = c.next
	}
	if c.next == nil {
		q.last = c.previous
	} else {
		c.next.previous = c.previous
	}
	c.next, c.previous = nil, nil
	q.requests--
	q.bytes -= c.bytes
}
