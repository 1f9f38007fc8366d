package projection_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/clienttest"
	"github.com/oexza/orisun/client/projection"
)

func running(
	ctx context.Context, c *client.Client, pool *pgxpool.Pool, name string, criteria client.Criteria,
	apply func() error,
) <-chan error {
	ended := make(chan error, 1)
	go func() {
		ended <- projection.Run(ctx, c, projection.PGX(pool), projection.Config[pgx.Tx]{
			Name: name, Boundary: "bank", Criteria: criteria,
			Apply: func(context.Context, pgx.Tx, client.Event) error { return apply() },
		})
	}()
	return ended
}

func nothing() error { return nil }

// Under a steady load, the live projection is always some events ahead of one that applies few of them.
func TestASwitchUnderASteadyLoad(t *testing.T) {
	for name, criteria := range map[string]client.Criteria{
		"few events match": client.Any(client.Where("amount", "7")),
		"none matches":     client.Any(client.Type("Closed")),
	} {
		t.Run(name, func(t *testing.T) {
			c, pool := clienttest.New(t, "bank"), connect(t)
			ctx, cancel := context.WithCancel(t.Context())
			written := make(chan error, 1)
			go func() {
				for n := 0; ctx.Err() == nil; n++ {
					event := client.NewEvent{Type: "Deposited", Data: map[string]int{"amount": n % 100}}
					if _, err := c.Save(t.Context(), "bank", client.Always, event); err != nil {
						written <- err
						return
					}
					tick := time.NewTimer(10 * time.Millisecond)
					<-tick.C
				}
				written <- nil
			}()
			live, next := running(ctx, c, pool, "live", nil, nothing), running(ctx, c, pool, "next", criteria, nothing)
			const behind = `SELECT count(*) FROM orisun_projection live, orisun_projection next WHERE live.name = 'live' AND
				next.name = 'next' AND next.global_id > 0 AND live.global_id > next.global_id + 10`
			for n := 0; n == 0; {
				if err := pool.QueryRow(ctx, behind).Scan(&n); err != nil {
					continue // until the projections have created the table
				}
			}
			exchanged := 0
			exchange := func(context.Context, pgx.Tx) error {
				exchanged++
				return nil
			}
			err := projection.Switch(t.Context(), projection.PGX(pool), "live", "next", exchange)
			if err != nil || exchanged != 1 {
				t.Errorf("%d exchanges, %v", exchanged, err)
			} else if err := <-live; !errors.Is(err, projection.ErrSwitched) {
				t.Error(err)
			}
			cancel()
			if err := <-next; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASwitchToAProjectionThatDoesNotCatchUpLeavesTheLiveOne(t *testing.T) {
	c, pool := clienttest.New(t, "bank"), connect(t)
	save(t, c, 1)
	if err := <-running(t.Context(), c, pool, "next", nil, func() error { return errEnough }); !errors.Is(err, errEnough) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	applied := make(chan struct{})
	live := running(ctx, c, pool, "live", nil, func() error {
		applied <- struct{}{}
		return nil
	})
	<-applied
	at := 0
	for at == 0 { // the transaction commits after Apply
		const query = "SELECT count(*) FROM orisun_projection WHERE name = 'live' AND transaction_id > 0"
		if err := pool.QueryRow(ctx, query).Scan(&at); err != nil {
			t.Fatal(err)
		}
	}
	exchange := func(context.Context, pgx.Tx) error {
		t.Error("the tables are exchanged")
		return nil
	}
	err := projection.Switch(t.Context(), projection.PGX(pool), "live", "next", exchange)
	if !errors.Is(err, projection.ErrBehind) {
		t.Error(err)
	}
	save(t, c, 1)
	select {
	case <-applied:
	case err := <-live:
		t.Fatal(err)
	}
	cancel()
	if err := <-live; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
