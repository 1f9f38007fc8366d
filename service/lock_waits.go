package service

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/oexza/orisun/db"
)

const (
	// longLockWait is how long a flush waits for a lock before the log names the session that holds it.
	longLockWait = time.Second
	// lockLookLimit is the timeout of the search for that session.
	lockLookLimit = 5 * time.Second
)

// lockWaits logs the sessions that block saves, such as a transaction left open in psql after an INSERT. There is one
// line for each wait of a boundary, however many flushes it takes.
type lockWaits struct {
	find func(ctx context.Context, pid uint32) ([]db.FindBlockingSessionsRow, error)
	log  *slog.Logger

	mu       sync.Mutex
	isLogged map[string]bool // boundaries whose wait is in the log
}

// watch checks whether the session pid waits for other sessions, until ended is called with the flush's error.
func (w *lockWaits) watch(ctx context.Context, boundary string, pid uint32) (ended func(error)) {
	watching, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(longLockWait, func() { w.look(watching, boundary, pid) })
	return func(err error) {
		timer.Stop()
		cancel()
		if err == nil {
			w.mu.Lock()
			delete(w.isLogged, boundary)
			w.mu.Unlock()
		}
	}
}

// look reports the first blocking session that it finds.
func (w *lockWaits) look(ctx context.Context, boundary string, pid uint32) {
	tick := time.NewTicker(longLockWait)
	defer tick.Stop()
	for !w.report(ctx, boundary, pid) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *lockWaits) report(ctx context.Context, boundary string, pid uint32) (done bool) {
	limited, cancel := context.WithTimeout(ctx, lockLookLimit)
	defer cancel()
	sessions, err := w.find(limited, pid)
	if err != nil || len(sessions) == 0 || ctx.Err() != nil {
		return ctx.Err() != nil
	}
	w.mu.Lock()
	isLogged := w.isLogged[boundary]
	w.isLogged[boundary] = true
	w.mu.Unlock()
	if !isLogged {
		holder := sessions[0]
		w.log.Warn("saves wait: another session of PostgreSQL holds the boundary's lock; they go on when its transaction "+
			"ends (pg_terminate_backend ends it)",
			"boundary", boundary, "pid", holder.Pid, "user", holder.Username, "application", holder.Application,
			"client", holder.Client,
			"state", holder.State, "transaction_age", time.Duration(holder.Seconds*float64(time.Second)).
				Round(time.Millisecond).String())
	}
	return true
}
