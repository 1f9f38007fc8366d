package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// settleTime is how long after the window the run waits for answers, and how long an open loop continues to send
	// overdue requests. A server that needs longer is not slow, it hangs.
	settleTime = time.Minute
	// failurePause prevents a busy loop of a client whose requests fail at once.
	failurePause = 10 * time.Millisecond
)

// client sends one request and returns when it has ended. The request was due at a time that is past, and
// observations count from there.
type client func(ctx context.Context, due time.Time) outcome

// load is what a workload runs at one number of clients.
type load struct {
	clients []client
	// beside are clients that always run in a closed loop, until the end of the window.
	beside []client
	// settle waits for the effects of answered requests, or for the end of ctx. It is nil where there are none.
	settle func(ctx context.Context)
	// starved is the longest that a client went without success. It is nil where clients do not compete.
	starved func() time.Duration
	// close ends what the load began. It is nil where there is nothing to end.
	close func()
}

// loop decides when requests are due.
type loop struct {
	warmUp, duration time.Duration
	rate             float64 // per second, of all clients together; 0: each client when its last request has ended
}

// run returns when every request has ended, at most settleTime after the window.
func (p loop) run(ctx context.Context, m *measurement, l *load) {
	begin := time.Now()
	m.from = begin.Add(p.warmUp)
	m.to = m.from.Add(p.duration)
	calls, cancel := context.WithDeadline(ctx, m.to.Add(settleTime))
	defer cancel()

	var running sync.WaitGroup
	for _, c := range l.beside {
		running.Go(func() { closed(calls, m, c) })
	}
	var next atomic.Int64
	for _, c := range l.clients {
		running.Go(func() {
			if p.rate > 0 {
				p.open(calls, m, c, begin, &next)
			} else {
				closed(calls, m, c)
			}
		})
	}
	running.Wait()
	if l.settle != nil {
		l.settle(calls)
	}
}

// closed sends a request when the last one has ended.
func closed(ctx context.Context, m *measurement, send client) {
	for {
		due := time.Now()
		if !due.Before(m.to) || interrupted(ctx) {
			return
		}
		o := send(ctx, due)
		if interrupted(ctx) {
			return
		}
		m.observe(due, o)
		if o.err != nil {
			wait(ctx, time.Now().Add(failurePause))
		}
	}
}

// open sends the requests that are due by the clock. All clients of a point take requests from one queue of arrivals.
// When all of them wait for answers, arrivals wait for a client, and this wait is part of their latency.
func (p loop) open(ctx context.Context, m *measurement, send client, begin time.Time, next *atomic.Int64) {
	for {
		arrival := next.Add(1) - 1
		due := begin.Add(time.Duration(float64(arrival) / p.rate * float64(time.Second)))
		if !due.Before(m.to) {
			return
		}
		wait(ctx, due)
		if interrupted(ctx) {
			return
		}
		if ctx.Err() != nil {
			m.rows[0].fail(unsent, 1,
				fmt.Sprintf("the server did not keep up with %v requests a second: a minute after the window some were still not "+
					"sent", p.rate))
			continue
		}
		o := send(ctx, due)
		if interrupted(ctx) {
			return
		}
		m.observe(due, o)
	}
}

// interrupted distinguishes the end of the whole run from that of the time to wait for answers.
func interrupted(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// wait returns at a time, or when ctx ends.
func wait(ctx context.Context, until time.Time) {
	delay := time.Until(until)
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
