package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// caller is one Do of a scenario. Callers arrive one after the other, so that the order of arrival is known.
type caller struct {
	gap          time.Duration // since the caller before
	timeout      time.Duration // until its context ends; 0: for ever
	deadline     bool          // the context has the time of its end
	poison       bool
	items, bytes int
}

// attempt is what the flush function does when it is called for the n-th time; afterwards every call succeeds at once.
type attempt struct {
	takes   time.Duration
	failure string // "": none
}

const (
	failsTransient = "transient"
	failsUnknown   = "done, but the answer is lost"
	failsOther     = "other"
	failsPanicking = "panic"
)

type scenario struct {
	options  Options[int]
	callers  []caller
	attempts []attempt
	closeAt  time.Duration // 0: after all are answered
	closeFor time.Duration // how long Close waits; 0: for ever
}

func drawScenario(t *rapid.T) scenario {
	millis := func(label string, least, most int) time.Duration {
		return time.Duration(rapid.IntRange(least, most).Draw(t, label)) * time.Millisecond
	}
	s := scenario{options: Options[int]{
		MaxRequests:   rapid.IntRange(1, 12).Draw(t, "MaxRequests"),
		MaxItems:      rapid.IntRange(1, 20).Draw(t, "MaxItems"),
		MaxBytes:      rapid.IntRange(1, 200).Draw(t, "MaxBytes"),
		MaxQueue:      rapid.IntRange(1, 40).Draw(t, "MaxQueue"),
		MaxQueueBytes: rapid.IntRange(1, 1000).Draw(t, "MaxQueueBytes"),
		MaxTransient:  millis("MaxTransient", 1, 2000),
	}}
	for range rapid.IntRange(1, 40).Draw(t, "callers") {
		c := caller{
			gap:    time.Duration(rapid.IntRange(1, 3000).Draw(t, "gap")) * time.Microsecond,
			poison: rapid.IntRange(0, 7).Draw(t, "poison") == 0,
			items:  rapid.IntRange(0, 8).Draw(t, "items"),
			bytes:  rapid.IntRange(0, 80).Draw(t, "bytes"),
		}
		if rapid.IntRange(0, 2).Draw(t, "impatient") == 0 {
			c.timeout = millis("timeout", 1, 100)
			c.deadline = rapid.Bool().Draw(t, "deadline")
		}
		s.callers = append(s.callers, c)
	}
	for range rapid.IntRange(0, 30).Draw(t, "attempts") {
		s.attempts = append(s.attempts, attempt{
			takes: millis("takes", 0, 40),
			failure: rapid.SampledFrom([]string{"", "", "", "", failsTransient, failsUnknown, failsOther, failsPanicking}).
				Draw(t, "failure"),
		})
	}
	if rapid.IntRange(0, 3).Draw(t, "closes early") == 0 {
		s.closeAt = millis("closeAt", 1, 60)
		if rapid.Bool().Draw(t, "cuts") {
			s.closeFor = millis("closeFor", 1, 100)
		}
	}
	return s
}

// play is a scenario under way, with a store that keeps what it is sent once, however often it is sent.
type play struct {
	scenario
	batcher *Batcher[int, string]
	start   time.Time

	mu         sync.Mutex
	calls      int
	inFlight   int
	newest     int            // the latest request sent so far
	newestDone int            // the latest request whose flush succeeded
	stored     map[int]int    // request → how many of its flushes succeeded
	failed     map[int]string // request → how its last flush failed of itself
	violations []string
	answers    []*answer // of each caller, nil until it has one
}

type answer struct {
	result string
	err    error
	at     time.Duration
}

func (p *play) violate(format string, args ...any) {
	p.violations = append(p.violations, fmt.Sprintf(format, args...))
}

func (p *play) flush(ctx context.Context, batch []int) ([]string, error) {
	p.mu.Lock()
	p.checkBatch(batch)
	a := attempt{}
	if p.calls < len(p.attempts) {
		a = p.attempts[p.calls]
	}
	p.calls++
	if p.inFlight++; p.inFlight > 1 {
		p.violate("%d flushes in flight", p.inFlight)
	}
	p.mu.Unlock()

	var ended error
	select {
	case <-time.After(a.takes):
	case <-ctx.Done():
		ended = ctx.Err()
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	if ended != nil {
		return nil, ended
	}
	for _, request := range batch {
		p.failed[request] = a.failure
	}
	switch a.failure {
	case failsTransient, failsUnknown:
		return nil, fmt.Errorf("%s: %w", a.failure, errTransient)
	case failsOther:
		return nil, errOther
	case failsPanicking:
		panic(errOther)
	}
	results := make([]string, len(batch))
	for i, request := range batch {
		if p.callers[request].poison {
			return nil, fmt.Errorf("request %d: %w", request, errPoison)
		}
		results[i] = resultOf(fmt.Sprint(request))
	}
	for _, request := range batch {
		p.stored[request]++
		if request <= p.newestDone {
			p.violate("request %d succeeded after %d", request, p.newestDone)
		}
		p.newestDone = request
	}
	return results, nil
}

func (p *play) checkBatch(batch []int) {
	items, bytes := 0, 0
	last := -1
	for _, request := range batch {
		items += p.callers[request].items
		bytes += p.callers[request].bytes
		if request <= last {
			p.violate("batch %v is not in order of arrival", batch)
		}
		last = request
		if a := p.answers[request]; a != nil && a.at < time.Since(p.start) {
			p.violate("request %d is sent %s after its caller was answered %q, %v", request, time.Since(p.start)-a.at,
				a.result, a.err)
		}
	}
	if len(batch) == 0 {
		p.violate("an empty flush")
	}
	if len(batch) > 1 && (len(batch) > p.options.MaxRequests || items > p.options.MaxItems || bytes > p.options.MaxBytes) {
		p.violate("batch %v has %d items and %d bytes, beyond a cap", batch, items, bytes)
	}
	// What is new in the batch came after all that was sent before.
	for _, request := range batch {
		if request > p.newest {
			p.newest = request
		} else if p.stored[request] > 0 {
			p.violate("request %d is retried after it succeeded", request)
		}
	}
}

func (p *play) call(i int) {
	c := p.callers[i]
	ctx := context.Background()
	if c.timeout > 0 {
		var cancel context.CancelFunc
		if c.deadline {
			ctx, cancel = context.WithTimeout(ctx, c.timeout)
		} else {
			var cause context.CancelCauseFunc
			ctx, cause = context.WithCancelCause(ctx)
			timer := time.AfterFunc(c.timeout, func() { cause(errGone) })
			cancel = func() { timer.Stop(); cause(nil) }
		}
		defer cancel()
	}
	result, err := p.batcher.Do(ctx, i)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers[i] != nil {
		p.violate("caller %d is answered twice", i)
	}
	p.answers[i] = &answer{result, err, time.Since(p.start)}
}

func (p *play) run() {
	p.start = time.Now()
	p.batcher = New(p.options, p.flush)
	closed := make(chan error, 1)
	closing := func() {
		ctx := context.Background()
		if p.closeFor > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, p.closeFor)
			defer cancel()
		}
		closed <- p.batcher.Close(ctx)
	}
	if p.closeAt > 0 {
		time.AfterFunc(p.closeAt, closing)
	}
	var callers sync.WaitGroup
	for i, c := range p.callers {
		<-time.After(c.gap)
		callers.Go(func() { p.call(i) })
		synctest.Wait()
		p.checkQueue()
	}
	callers.Wait()
	if p.closeAt == 0 {
		closing()
	}
	if err := <-closed; err != nil && p.closeFor == 0 {
		p.violate("Close = %v, though it had for ever", err)
	}
	p.checkAnswers()
}

func (p *play) checkQueue() {
	p.batcher.mu.Lock()
	defer p.batcher.mu.Unlock()
	q := &p.batcher.queue
	if q.requests > p.options.MaxQueue || q.requests > 1 && q.bytes > p.options.MaxQueueBytes+80 {
		p.violate("%d requests of %d bytes are queued", q.requests, q.bytes)
	}
	requests, bytes := 0, 0
	for c := q.first; c != nil; c = c.next {
		requests++
		bytes += c.bytes
	}
	if requests != q.requests || bytes != q.bytes {
		p.violate("%d requests of %d bytes are queued, counted as %d of %d", requests, bytes, q.requests, q.bytes)
	}
}

func (p *play) checkAnswers() {
	arrival := time.Duration(0)
	for i, c := range p.callers {
		arrival += c.gap
		a := p.answers[i]
		if c.timeout > 0 && a.at > arrival+c.timeout {
			p.violate("caller %d is answered %s after its context ended", i, a.at-arrival-c.timeout)
		}
		ended := c.timeout > 0 && a.at == arrival+c.timeout
		closed := p.closeAt > 0 && a.at >= p.closeAt
		switch {
		case p.stored[i] > 1:
			p.violate("request %d is flushed with success %d times", i, p.stored[i])
		case a.err == nil && (p.stored[i] != 1 || a.result != resultOf(fmt.Sprint(i))):
			p.violate("caller %d got %q, though its request is flushed with success %d times", i, a.result, p.stored[i])
		case a.err == nil:
		case a.result != "":
			p.violate("caller %d got %q beside the error %v", i, a.result, a.err)
		case ended && (errors.Is(a.err, context.DeadlineExceeded) || errors.Is(a.err, errGone)):
			// even if the flush succeeded at that moment
		case p.stored[i] > 0:
			p.violate("caller %d got %v, though its request is flushed with success", i, a.err)
		case errors.Is(a.err, errPoison):
			if !c.poison {
				p.violate("caller %d got the error of another: %v", i, a.err)
			}
		case errors.Is(a.err, ErrQueueFull):
			if a.at != arrival {
				p.violate("caller %d got after %s that the queue is full", i, a.at-arrival)
			}
		case errors.Is(a.err, ErrClosed):
			if !closed {
				p.violate("caller %d got %v before Close", i, a.err)
			}
		case errors.Is(a.err, errTransient):
			if c.deadline {
				p.violate("caller %d has a deadline and got %v before it", i, a.err)
			}
			if p.failed[i] != failsTransient && p.failed[i] != failsUnknown {
				p.violate("caller %d got %v, though its last flush did not fail so", i, a.err)
			}
		case errors.Is(a.err, errOther):
			if p.failed[i] != failsOther && p.failed[i] != failsPanicking {
				p.violate("caller %d got the error of another flush: %v", i, a.err)
			}
		default:
			p.violate("caller %d got %v, which nothing explains", i, a.err)
		}
	}
}

// Whatever arrives, leaves and fails when: every caller gets exactly one result, in time; a caller with a success was
// flushed with success once; no caller gets another's error; order, caps and bounds hold; Close ends.
func TestEveryCallerGetsItsOwnAnswerWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// rapid ends a test by a panic, which must not happen in the bubble: draw before, judge after.
		p := &play{scenario: drawScenario(rt), newest: -1, newestDone: -1, stored: map[int]int{}, failed: map[int]string{}}
		p.answers = make([]*answer, len(p.callers))
		p.options.Size = func(i int) (items, bytes int) { return p.callers[i].items, p.callers[i].bytes }
		p.options.IsTransient = func(err error) bool { return errors.Is(err, errTransient) }
		synctest.Test(t, func(*testing.T) { p.run() })
		for _, violation := range p.violations {
			rt.Error(violation)
		}
	})
}
