package transport

import (
	"context"
	"sync/atomic"
	"time"
)

// callContext is the context of a call, which releases the call at its end. A pooled connection to PostgreSQL holds
// the context of its last query until the next one, and gRPC's contexts hold the stream with all that its client has
// not read.
type callContext struct {
	done <-chan struct{}
	call atomic.Pointer[context.Context] // nil once the call has ended
}

func newCallContext(call context.Context) *callContext {
	c := &callContext{done: call.Done()}
	c.call.Store(&call)
	return c
}

// end releases the call.
func (c *callContext) end() { c.call.Store(nil) }

// Deadline implements context.Context.
func (c *callContext) Deadline() (deadline time.Time, ok bool) {
	if call := c.call.Load(); call != nil {
		return (*call).Deadline()
	}
	return time.Time{}, false
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *callContext) Err() error {
	if call := c.call.Load(); call != nil {
		return (*call).Err()
	}
	return context.Canceled
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if call := c.call.Load(); call != nil {
		return (*call).Value(key)
	}
	return nil
}
