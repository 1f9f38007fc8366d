package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// loseStores kills nodes and deletes their JetStream stores; all are down when it returns.
func loseStores(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		if err := errors.Join(n.end(syscall.SIGKILL), os.RemoveAll(n.storeDir())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoresLostOnAMajorityAreRecreated deletes the JetStream stores of two nodes of three while they are down: what
// the third one knows of the streams is a minority's opinion. JetStream may leave that node out, and then the guide's
// way (docs/cluster.md) brings it back: subscribers do not wait for it.
func TestStoresLostOnAMajorityAreRecreated(t *testing.T) {
	t.Parallel()
	c := serving(t)
	ids := follow(t, c.nodes[0])
	save(t, c.nodes[0], "before")
	receive(t, ids, "before")
	wantStreamEqualsLog(t, c)
	loseStores(t, c.nodes[1:])
	for _, n := range c.nodes[1:] {
		if err := errors.Join(n.start(), n.awaitServing(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	save(t, c.nodes[0], "after")
	receive(t, ids, "after")
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	leftOut := false
	within(t, catchUpLimit, "the stream, or a node that is left out", func() bool {
		messages, err := readStream(t.Context(), c.nodes[0])
		leftOut = logs(t, c.nodes[0], "has NO quorum, stalled")
		return leftOut || err == nil && compareStream(messages, log) == nil
	})
	if leftOut {
		n := c.nodes[0]
		if err := errors.Join(n.end(syscall.SIGTERM), os.RemoveAll(n.storeDir()), n.start(),
			n.awaitServing(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	wantStreamEqualsLog(t, c)
}

// TestAStreamThatOnlyItsOwnerKnowsIsRecreated cuts the owner off, under load, while the other nodes lose their stores
// and start JetStream again. Back among them, the owner's own JetStream may describe a stream that no other node knows
// and that stores nothing. A publisher that believes it had no stream for a minute and more in two of five runs.
func TestAStreamThatOnlyItsOwnerKnowsIsRecreated(t *testing.T) {
	t.Parallel()
	c := serving(t)
	n, others := owner(t, c)
	saving, stop := context.WithCancel(t.Context())
	var saved sync.WaitGroup
	defer saved.Wait()
	defer stop()
	saved.Go(func() {
		for i := 0; saving.Err() == nil; i++ {
			if _, err := n.store.SaveEvents(t.Context(), unconditional(strconv.Itoa(i))); err != nil {
				t.Error(err)
				return
			}
			rest(saving, 20*time.Millisecond)
		}
	})
	heal, err := disturb((*proxy).sever, c.proxiesOf(slices.Index(c.nodes, n))...)
	if err != nil {
		t.Fatal(err)
	}
	loseStores(t, others)
	for _, other := range others {
		if err := other.start(); err != nil {
			t.Fatal(err)
		}
	}
	within(t, catchUpLimit, "a JetStream without the stream", func() bool {
		_, err := readStream(t.Context(), others[0])
		return errors.Is(err, jetstream.ErrStreamNotFound)
	})
	if err := heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := within(t, catchUpLimit, "a stream", func() bool {
		messages, err := readStream(t.Context(), others[0])
		return err == nil && len(messages) > 0
	})
	t.Logf("a stream after %s", took)
	stop()
	saved.Wait()
	log, err := readLog(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	within(t, catchUpLimit, "a stream that ends with the log", func() bool {
		messages, err := readStream(t.Context(), others[0])
		return err == nil && compareStream(messages, log) == nil
	})
}
