package publisher

import (
	"context"
	"log/slog"
	"time"

	"github.com/oexza/orisun/db"
)

// checkpointEvery is the least time between two checkpoints, so that they do not double the writes of PostgreSQL under
// many small saves.
const checkpointEvery = 100 * time.Millisecond

// checkpointer writes to PostgreSQL how far the stream is acknowledged.
type checkpointer struct {
	boundary string
	log      *slog.Logger
	stored   position  // the checkpoint in PostgreSQL, as far as known
	due      time.Time // the next checkpoint
}

// isBehind reports whether the stream is acknowledged beyond the checkpoint.
func (c *checkpointer) isBehind(settled position) bool { return c.stored.before(settled) }

// move writes the checkpoint if it is due, or if it is the last one. A failure stops no publisher: the stream's end is
// the same, and a later checkpoint tries again. It never moves back: if JetStream lost its latest messages, they are
// published again soon.
func (c *checkpointer) move(lease *Lease, settled position, isLast bool) {
	if !c.isBehind(settled) || !isLast && time.Now().Before(c.due) {
		return
	}
	c.due = time.Now().Add(checkpointEvery)
	err := lease.Do(context.Background(), func(ctx context.Context, tx db.DBTX) error {
		return db.New().MovePublishedPosition(ctx, tx, db.MovePublishedPositionParams{
			Boundary: c.boundary, TransactionID: settled.transactionID, GlobalID: settled.globalID,
		})
	})
	switch {
	case err == nil:
		c.stored = settled
	case lease.Context().Err() == nil:
		c.log.Debug("checkpoint not moved; a later one will be", "global_id", settled.globalID, "error", err)
		c.due = time.Now().Add(outboxPoll)
	}
}
