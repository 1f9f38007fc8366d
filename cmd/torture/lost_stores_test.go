package main

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestStoresLostOnAMajorityAreMadeAnew deletes the JetStream stores of two nodes of three while they are down: what the third one knows of the
// streams is a minority's opinion.
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
	wantStreamEqualsLog(t, c)
}
