package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// lagInterval is the time between two reads of the outbox.
	lagInterval = 200 * time.Millisecond
	// drainTime is how long after a point the run waits for the outbox. The target is a second.
	drainTime = 3 * time.Second
)

// outboxLag is how far the publisher lagged. The server records its checkpoint ten times a second, so both values are
// up to 100 ms too high.
type outboxLag struct {
	// worst is the greatest age of the oldest unpublished event.
	worst time.Duration
	// drained is the longest that the outbox took to be empty after the load of a point ended, at most drainTime.
	drained time.Duration
}

// outbox watches the outbox of a boundary by the functions for a DBA.
type outbox struct {
	boundary string

	mu   sync.Mutex // of the connection, which serves one query at a time
	conn *pgx.Conn
	seen outboxLag
}

func watchOutbox(ctx context.Context, database, boundary string) (*outbox, error) {
	conn, err := pgx.Connect(ctx, database)
	return &outbox{boundary: boundary, conn: conn}, err
}

// lag is the age of the oldest event that is not published. It is 0 where all are.
func (o *outbox) lag(ctx context.Context) (time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var seconds float64
	err := o.conn.QueryRow(ctx, `SELECT coalesce(extract(epoch FROM clock_timestamp() - e.date_created), 0)::float8
		FROM (SELECT 1) AS one
		LEFT JOIN orisun.get_published_position(p_boundary => $1) p ON true
		LEFT JOIN LATERAL orisun.get_matching_events(p_boundary => $1, p_transaction_id => p.transaction_id,
			p_global_id => p.global_id, p_inclusive => false, p_count => 1) e ON true`, o.boundary).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}

// watch reads the lag periodically until ctx ends, which is no error.
func (o *outbox) watch(ctx context.Context) error {
	ticker := time.NewTicker(lagInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			// The end does not cancel the query: that would end the connection, too.
			lag, err := o.lag(context.WithoutCancel(ctx))
			if err != nil {
				return err
			}
			o.seen.worst = max(o.seen.worst, lag)
		}
	}
}

// drain waits until the outbox is empty, at most drainTime, and records how long that took.
func (o *outbox) drain(ctx context.Context) error {
	begin := time.Now()
	ticker := time.NewTicker(lagInterval / 10)
	defer ticker.Stop()
	for time.Since(begin) < drainTime && ctx.Err() == nil {
		lag, err := o.lag(ctx)
		if err != nil {
			return err
		}
		if lag == 0 {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	o.seen.drained = max(o.seen.drained, time.Since(begin))
	return nil
}

// during watches while do runs, which calls drain after each load.
func (o *outbox) during(ctx context.Context, do func() error) error {
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- o.watch(watching) }()
	err := do()
	stop()
	return errors.Join(err, <-watched, o.conn.Close(context.WithoutCancel(ctx)))
}
