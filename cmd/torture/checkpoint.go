package main

import (
	"context"
	"fmt"
	"time"
)

// watchCheckpoint polls the publisher's checkpoint until ctx ends, and reports where it went back. A crash of
// PostgreSQL may set it back, as its commit does not wait for the disk.
func watchCheckpoint(ctx context.Context, c *cluster) (looks int, anomalies []string) {
	var life time.Time // when PostgreSQL was started
	last := int64(-1)
	for ; ctx.Err() == nil; rest(ctx, 20*time.Millisecond) {
		var at int64
		var started time.Time
		err := c.admin.QueryRow(ctx,
			`SELECT coalesce(max(global_id), -1), pg_postmaster_start_time()
			   FROM public.`+boundary+`_orisun_last_published_event_position`).
			Scan(&at, &started)
		if err != nil {
			continue // PostgreSQL is away
		}
		looks++
		if !started.Equal(life) {
			life, last = started, -1
		}
		if at < last {
			anomalies = append(anomalies, fmt.Sprintf("checkpoint: went back from %d to %d", last, at))
		}
		last = at
	}
	return looks, anomalies
}
