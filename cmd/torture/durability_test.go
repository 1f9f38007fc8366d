package main

import (
	"strings"
	"testing"
)

// TestSettingsThatLoseEventsAreWarnedOf turns off what makes a commit last.
func TestSettingsThatLoseEventsAreWarnedOf(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.nodes[0]
	start := func() string {
		before := 0
		if n.cmd != nil {
			before = len(logged(t, n))
			if err := n.end(9); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
		if err := n.awaitServing(t.Context()); err != nil {
			t.Fatal(err)
		}
		return logged(t, n)[before:]
	}
	const warning = "PostgreSQL may lose acknowledged events in a crash"
	if said := start(); strings.Contains(said, warning) {
		t.Errorf("warned of a durable PostgreSQL:\n%s", said)
	}
	if _, err := c.admin.Exec(t.Context(), "ALTER ROLE postgres SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	said := start()
	if strings.Count(said, warning) != 1 || !strings.Contains(said, `"setting":"synchronous_commit"`) {
		t.Errorf("synchronous_commit is off for the role, and the log says:\n%s", said)
	}
}
