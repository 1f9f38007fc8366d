package inflight

// Connection is the bytes of answers that wait to be written to one connection.
type Connection struct {
	budget *Budget
	held   map[*account]int64 // the budget's mutex guards it; nil once the connection is gone
}

// NewConnection returns a connection that holds nothing. Close it with the connection.
func (b *Budget) NewConnection() *Connection {
	return &Connection{b, make(map[*account]int64)}
}

// Close returns the bytes that are not written and never will be.
func (c *Connection) Close() {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	for a, bytes := range c.held {
		c.budget.give(a, bytes)
	}
	c.held = nil
}

// Answer is an answer that waits to be written to a connection. It counts until Written, or until the connection is
// gone.
type Answer struct {
	connection *Connection
	account    *account
	bytes      int64
}

// Answer counts an answer of a call. The answer is already built, so it may exceed the caller's share.
func (c *Connection) Answer(call *Call, bytes int) *Answer {
	c.budget.mu.Lock()
	defer c.budget.mu.Unlock()
	if c.held == nil {
		return &Answer{}
	}
	a := &Answer{c, call.account, int64(bytes)}
	c.held[call.account] += a.bytes
	c.budget.take(call.account, a.bytes)
	return a
}

// Written returns the answer's bytes. Call it once.
func (a *Answer) Written() {
	if a.connection == nil {
		return
	}
	b := a.connection.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.connection.held == nil {
		return
	}
	if a.connection.held[a.account] -= a.bytes; a.connection.held[a.account] == 0 {
		delete(a.connection.held, a.account)
	}
	b.give(a.account, a.bytes)
}
