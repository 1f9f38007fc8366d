package consumer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// heldRead holds back the result of the first read of checkpoints.
type heldRead struct {
	read, release chan struct{}
	query         string
}

func (h *heldRead) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, h, data.SQL)
}

func (h *heldRead) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if query, _ := ctx.Value(h).(string); !strings.Contains(query, h.query) {
		return
	}
	select {
	case h.read <- struct{}{}:
		<-h.release
	case <-h.release:
	}
}

// TestAWaitUsesNoReadThatBeganBeforeIt creates a subscription after a read found that there is none, and waits for it
// before that read's result arrives. Another wait goes on all the time.
func TestAWaitUsesNoReadThatBeganBeforeIt(t *testing.T) {
	pool := subscribed(t)
	held := &heldRead{read: make(chan struct{}), release: make(chan struct{}), query: "orisun.subscription_checkpoints("}
	config := pool.Config()
	config.ConnConfig.Tracer = held
	traced, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traced.Close)
	n := newNode(t, traced, threeEvents{}, "node")
	wait := func(ctx context.Context, subscription string, until int64) chan error {
		result := make(chan error, 1)
		go func() {
			_, err := n.Wait(ctx, "orders", subscription, until, time.Hour)
			result <- err
		}()
		for waits := 0; waits == 0; {
			n.waits.mu.Lock()
			if p := n.waits.open["orders"]; p != nil {
				waits = p.names[subscription]
			}
			n.waits.mu.Unlock()
		}
		return result
	}
	first, cancel := context.WithCancel(t.Context())
	ended := wait(first, "late", -1)
	<-held.read
	other, end := context.WithCancel(t.Context())
	mails := wait(other, "mails", 100)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	subscribe(t, pool, "orders", "late", 1)
	late := wait(t.Context(), "late", -1)
	close(held.release)
	if err := <-late; err != nil {
		t.Errorf("the wait for a subscription that was created before it ends with %v", err)
	}
	end()
	if err := <-mails; !errors.Is(err, context.Canceled) {
		t.Errorf("the other wait ends with %v", err)
	}
}
