package main

import (
	"context"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// longestSilence is what the specification promises of a takeover.
const longestSilence = 10 * time.Second

// TestEachNodeKilledInTurnUnderLoad measures what subscribers on the other nodes notice.
func TestEachNodeKilledInTurnUnderLoad(t *testing.T) {
	t.Parallel()
	c := serving(t)
	l := &load{c: c, started: time.Now()}
	working, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() { l.write(working, i, seeded(7, uint64(i))) })
	}
	var silences []time.Duration
	for _, victim := range c.nodes {
		var witnesses []*witness
		for _, n := range c.nodes {
			if n != victim {
				witnesses = append(witnesses, watch(t, n, l))
			}
		}
		for _, w := range witnesses {
			w.hears(t, 200)
		}
		if err := victim.end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for _, w := range witnesses {
			w.begin()
		}
		<-time.After(longestSilence)
		for _, w := range witnesses {
			silences = append(silences, w.end())
		}
		if err := victim.start(); err != nil {
			t.Fatal(err)
		}
		if err := victim.awaitServing(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	writing.Wait()
	t.Logf("longest silences of subscribers on other nodes, in the ten seconds after a kill: %v", silences)
	for _, silence := range silences {
		if silence >= longestSilence {
			t.Errorf("a subscriber on another node heard nothing for %s", silence)
		}
	}
	if err := barrier(t.Context(), c, "end"); err != nil {
		t.Fatal(err)
	}
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	completed, _ := complete(l.operations, log)
	wrong, _, err := checkLinearizable(completed, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wrong = append(append(wrong, checkLog(log)...), checkAnswers(completed, log)...)
	for _, anomaly := range append(wrong, l.said()...) {
		t.Error(anomaly)
	}
	t.Logf("%d operations, %d events", len(completed), len(log))
	wantStreamEqualsLog(t, c)
}

// witness is a subscriber on one node that never subscribes again: a fault elsewhere must not end it.
type witness struct {
	mu      sync.Mutex
	heard   int
	next    int64
	at      time.Time
	silence time.Duration
	stop    context.CancelFunc
}

func watch(t *testing.T, n *node, l *load) *witness {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	stream, err := n.store.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: boundary})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{next: -1, at: time.Now(), stop: stop}
	go func() {
		for {
			event, err := stream.Recv()
			if err != nil {
				if ctx.Err() == nil {
					l.say("a subscriber on %s ended by the fault of another node: %v", n.name, err)
				}
				return
			}
			w.mu.Lock()
			if at := event.GetPosition().GetGlobalId(); w.next >= 0 && at != w.next {
				l.say("a subscriber on %s got event %d, want %s", n.name, at, strconv.FormatInt(w.next, 10))
			}
			w.next = event.GetPosition().GetGlobalId() + 1
			w.heard++
			w.silence = max(w.silence, time.Since(w.at))
			w.at = time.Now()
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *witness) hears(t *testing.T, events int) {
	t.Helper()
	within(t, wait, "hearing events", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.heard >= events
	})
}

func (w *witness) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silence, w.at = 0, time.Now()
}

// end is the longest silence since begin.
func (w *witness) end() time.Duration {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.silence, time.Since(w.at)).Round(time.Millisecond)
}
