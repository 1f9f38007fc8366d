package main

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestStoresLostOnAMajorityAreMadeAnew deletes the JetStream stores of two nodes of three while they are down: what the third one knows of the
// streams is a minority's opinion. JetStream may leave that node out, and then the guide's way (docs/cluster.md) brings it back: subscribers do not
// wait for it.
func TestStoresLostOnAMajorityAreMadeAnew(t *testing.T) {
	t.Parallel()
	c := serving(t)
	ids := follow(t, c.nodes[0])
	save(t, c.nodes[0], "before")
	receive(t, ids, "before")
	wantStreamEqualsLog(t, c)
	for _, n := range c.nodes[1:] {
		if err := errors.Join(n.end(syscall.SIGKILL), os.RemoveAll(n.storeDir())); err != nil {
			t.Fatal(err)
		}
	}
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
		if err := errors.Join(n.end(syscall.SIGTERM), os.RemoveAll(n.storeDir()), n.start(), n.awaitServing(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	wantStreamEqualsLog(t, c)
}
