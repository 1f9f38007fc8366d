package main

import "testing"

// A node of another store with the right routes, password and certificate ends at its start where it finds the cluster.
// Where it finds it later, it is refused, and serves its own store.
func TestANodeOfAnotherStoreChangesNothing(t *testing.T) {
	c := serving(t)
	f := &faults{c: c}
	refused, err := joinForeign(t.Context(), f, 0)
	if err != nil {
		t.Fatal(err)
	}
	within(t, startLimit, "the foreign node finds the cluster", func() bool {
		return logs(t, c.foreign.node, "the NATS cluster serves another store")
	})
	if err := refused(t.Context()); err != nil {
		t.Error(err)
	}

	late, err := joinForeign(t.Context(), f, 1)
	if err != nil {
		t.Fatal(err)
	}
	within(t, startLimit, "the foreign node is refused", func() bool { return logs(t, c.foreign.node, "is refused") })
	if err := barrier(t.Context(), c, "end"); err != nil {
		t.Fatal(err)
	}
	wantStreamEqualsLog(t, c)
	if err := late(t.Context()); err != nil {
		t.Error(err)
	}
	if c.foreign.saves == 0 {
		t.Error("the foreign node saved nothing, so this shows nothing")
	}
}

// Routes that TLS refuses are routes that are cut: what the others publish does not reach it by NATS, and all is
// well when the certificate is right again.
func TestANodeWithAnUntrustedCertificateServesOnAndComesBack(t *testing.T) {
	c := serving(t)
	heal, err := mistrust(t.Context(), &faults{c: c}, 2)
	if err != nil {
		t.Fatal(err)
	}
	within(t, startLimit, "both sides refuse", func() bool {
		return logs(t, c.nodes[0], "TLS route handshake error") && logs(t, c.nodes[2], "TLS route handshake error")
	})
	if err := barrier(t.Context(), c, "cut"); err != nil {
		t.Fatal(err)
	}
	if err := heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := barrier(t.Context(), c, "healed"); err != nil {
		t.Fatal(err)
	}
	wantStreamEqualsLog(t, c)
	within(t, startLimit, "every node has a copy", func() bool {
		info := streamInfo(t, c.nodes[2])
		return info != nil && len(info.Cluster.Replicas) == 2 && info.Cluster.Replicas[0].Current &&
			info.Cluster.Replicas[1].Current
	})
}
