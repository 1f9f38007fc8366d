package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	"github.com/oexza/orisun/db/pgsession"
)

const (
	// stateIndexesLocked is the SQLSTATE when another session makes or drops an index of the boundary.
	stateIndexesLocked = "OR011"
	// lockPoll is how often a change of indexes checks whether another one is done. It cannot wait in PostgreSQL: a
	// waiting session has a snapshot, and CREATE INDEX CONCURRENTLY waits for all snapshots.
	lockPoll = 100 * time.Millisecond
	// cleanTimeout is how long a failed change may clean up after itself, beyond the end of its call. Anything that is
	// left is removed by the next change of the boundary's indexes and at the next start.
	cleanTimeout = 30 * time.Second
	// maxBuilds is how many changes of indexes a node makes at a time, each on its own connection and one per boundary.
	maxBuilds = 2
	// maxWaitingBuilds is how many further changes may wait for each boundary.
	maxWaitingBuilds = 8
)

// errIndexDraining ends a build when the server drains.
var errIndexDraining = retryLater(codes.Unavailable,
	"the server is shutting down: the index is not built; try again, with another node if there is one", nil)

// CleanIndexes removes the remains of builds that ended when a server or PostgreSQL was killed: invalid indexes, and
// definitions without an index. Running builds, of any node, are not touched. Call it when the server starts. An index
// that a foreign transaction protects for half a minute is logged, and left to the next change of the boundary's
// indexes.
func (s *EventStore) CleanIndexes(ctx context.Context) error {
	boundaries, err := s.queries.FindUnfinishedIndexes(ctx, s.config.Write)
	if err != nil {
		return fmt.Errorf("find unfinished indexes: %w", err)
	}
	for _, name := range boundaries {
		limited, cancel := context.WithTimeout(ctx, cleanTimeout)
		err := s.withIndexSession(limited, func(conn *pgx.Conn) error { return s.cleanIndexes(limited, conn, name) })
		expired := limited.Err() != nil && ctx.Err() == nil
		cancel()
		if expired || boundary.IsGone(err) || IsRightMissing(err) {
			s.warnUnclean(name, err)
		} else if err != nil {
			return fmt.Errorf("clean the indexes of boundary %s: %w", name, err)
		}
	}
	return nil
}

func (s *EventStore) warnUnclean(boundary string, err error) {
	s.config.Log.Warn("an index that was not built is not removed yet; the next change of the boundary's indexes and "+
		"the next start do so", "boundary", boundary, "error", err)
}

// changeIndexes runs the statements that change returns, and cleans up after a failure. Its errors are for the caller.
func (s *EventStore) changeIndexes(
	ctx context.Context, boundary string, change func(context.Context, db.DBTX) ([]string, error),
) error {
	running, end := s.untilDraining(ctx, errIndexDraining)
	defer end(nil)
	leave, err := s.enterBuilds(running, boundary)
	if err != nil {
		return err
	}
	defer leave()
	begun := false
	err = s.withIndexSession(running, func(conn *pgx.Conn) error {
		statements, err := change(running, conn)
		for hasState(err, stateIndexesLocked) {
			if err = s.lockIndexes(running, conn, boundary); err == nil {
				statements, err = change(running, conn)
			}
		}
		if err != nil {
			return err
		}
		begun = true
		return runAll(running, conn, statements)
	})
	s.advice.recheck(boundary)
	if err == nil {
		return nil
	}
	if begun || !isRefused(err) {
		s.cleanAfter(ctx, boundary)
	}
	return toStatus(running, err)
}

// enterBuilds waits until this node changes no other index of the boundary, and fewer than maxBuilds in all.
func (s *EventStore) enterBuilds(running context.Context, boundary string) (leave func(), err error) {
	leave, err = s.builds.enter(running, claim{boundary, 1})
	var full slotsFullError
	if errors.As(err, &full) {
		return nil, retryLater(codes.ResourceExhausted, fmt.Sprintf(
			"%d changes of indexes wait already in boundary %q: a node makes one at a time of a boundary, and %d in all; try "+
				"again when they are done", full.waiting, boundary, maxBuilds), err)
	}
	return leave, toStatus(running, err)
}

// isRefused returns whether PostgreSQL refused a change before it began.
func isRefused(err error) bool {
	var refused *pgconn.PgError
	return IsRightMissing(err) || errors.As(err, &refused) && strings.HasPrefix(refused.Code, "OR")
}

// cleanAfter cleans up although the call has ended. It waits for the session of the change, which PostgreSQL may still
// be cancelling.
func (s *EventStore) cleanAfter(ctx context.Context, boundary string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	err := s.withIndexSession(ctx, func(conn *pgx.Conn) error {
		if err := s.lockIndexes(ctx, conn, boundary); err != nil {
			return err
		}
		return s.cleanIndexes(ctx, conn, boundary)
	})
	if err != nil {
		s.warnUnclean(boundary, err)
	}
}

func (s *EventStore) cleanIndexes(ctx context.Context, conn *pgx.Conn, boundary string) error {
	statements, err := s.queries.CleanIndexes(ctx, conn, boundary)
	if err != nil {
		return err
	}
	return runAll(ctx, conn, statements)
}

// lockIndexes waits until this session has the right to change the boundary's indexes.
func (s *EventStore) lockIndexes(ctx context.Context, conn *pgx.Conn, boundary string) error {
	for poll := time.NewTicker(lockPoll); ; {
		locked, err := s.queries.LockIndexes(ctx, conn, boundary)
		if err != nil || locked {
			poll.Stop()
			return err
		}
		select {
		case <-ctx.Done():
			poll.Stop()
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
}

// withIndexSession opens a connection for one use. Changes of indexes run in no transaction, take longer than other
// statements may, and hold the right to change indexes as long as the session lasts.
func (s *EventStore) withIndexSession(ctx context.Context, do func(*pgx.Conn) error) error {
	config := s.config.Write.Config().ConnConfig.Copy()
	pgsession.Prepare(config) // without the pool's limits
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	err = do(conn)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	if closed := conn.Close(closing); closed != nil {
		s.config.Log.Debug("close the session that changed indexes", "error", closed) // the change itself is done
	}
	return err
}

// runAll runs statements outside of any transaction, also of the implicit one that several in one message would share.
func runAll(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}
