package publisher_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/publisher"
)

func TestADeletedBoundaryIsLetGoOfOnEveryNode(t *testing.T) {
	w := newWorld(t)
	pgtest.Boundary(t, w.pool, "admin")
	nodes := []*node{w.startNode(), w.startNode()}
	w.save(ids("a", 20)...)
	w.isPublished(0)
	leads := func(n *node, boundary string) bool {
		status, err := n.Status(boundary)
		return err == nil && status.Leads
	}
	eventually(t, "the admin boundary is published", func() (bool, error) {
		return leads(nodes[0], "admin") || leads(nodes[1], "admin"), nil
	})
	led := [2]bool{leads(nodes[0], "admin"), leads(nodes[1], "admin")}

	w.execute(`SELECT orisun.delete_boundary('orders', 'admin', 'alice')`) // in psql: no node is called
	eventually(t, "no node knows the boundary", func() (bool, error) {
		for _, n := range nodes {
			if _, err := n.Status(boundary); !errors.Is(err, publisher.ErrUnknownBoundary) {
				return false, err
			}
		}
		return true, nil
	})
	js, err := jetstream.New(connect(t, w.nats))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "its stream is deleted", func() (bool, error) {
		_, err := js.Stream(t.Context(), publisher.StreamName(boundary))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return true, nil
		}
		return false, err
	})
	if now := [2]bool{leads(nodes[0], "admin"), leads(nodes[1], "admin")}; now != led {
		t.Errorf("the admin boundary was published by %v and is by %v: leases were lost", led, now)
	}

	pgtest.Boundary(t, w.pool, boundary)
	w.save(ids("b", 3)...)
	w.isPublished(0)
}

func TestABoundaryThatIsCreatedAgainBetweenTwoPollsIsPublishedFromItsBeginning(t *testing.T) {
	w := newWorld(t)
	pgtest.Boundary(t, w.pool, "admin")
	w.startNode()
	w.save(ids("a", 20)...)
	w.isPublished(0)
	w.execute(`WITH gone AS MATERIALIZED (SELECT orisun.delete_boundary('orders', 'admin', 'alice') AS events)
		SELECT orisun.initialize_boundary_tables('orders', 'public') FROM gone WHERE events = 20`)
	w.save(ids("b", 3)...)
	w.isPublished(0)
}
