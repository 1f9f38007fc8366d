package main

import (
	"context"
	"fmt"
	"time"
)

// watchCheckpoint looks at the publisher's checkpoint until ctx ends, and tells where it went back. A crash of PostgreSQL may take it back, as
// it does not wait for the disk.
func watchCheckpoint(ctx context.Context, c *cluster, crashes func() int) (looks int, anomalies []string) {
	last, known := int64(-1), crashes()
	for ; ctx.Err() == nil; rest(ctx, 20*time.Millisecond) {
		var at int64
		err := c.admin.QueryRow(ctx, `SELECT coalesce(max(global_id), -1) FROM public.`+boundary+`_orisun_last_published_event_position`).Scan(&at)
		if err != nil {
			continue // PostgreSQL is away
		}
		looks++
		if now := crashes(); now != known {
			known, last = now, -1
		}
		if at < last {
			anomalies = append(anomalies, fmt.Sprintf("checkpoint: went back from %d to %d", last, at))
		}
		last = at
	}
	return looks, anomalies
}
