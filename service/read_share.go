package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc/codes"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/service/auth"
)

// maxWaitingReads is how many reads of one caller in one boundary may wait for their share of the read pool.
const maxWaitingReads = 1000

const (
	// slowRead is the duration from which on a read counts as slow. A read by an index takes well under a millisecond.
	slowRead = 500 * time.Millisecond
	// slowReaderFor is how long after a slow read its caller is limited.
	slowReaderFor = 10 * time.Second
	// maxSlowReaders is how many callers are known as slow; the least recently slow ones are dropped.
	maxSlowReaders = 10_000
)

// ReadShare divides the connections of the read pool. A boundary uses at most half of them at a time, and a caller at
// most one less than that. So other boundaries, and other callers of the same boundary, always find one.
//
// A slow read occupies a processor of PostgreSQL, too, and there may be fewer of them than connections. So a caller
// with a slow read gets one connection until slowReaderFor after its last one, also for the reads that wait already,
// and all such callers together get a quarter of the pool. ReadShare is safe for concurrent use.
type ReadShare struct {
	slots                  *slots
	boundary, caller, slow int
	slowUntil              *lru.Cache[string, time.Time] // by caller
}

// NewReadShare divides this number of connections.
func NewReadShare(connections int) *ReadShare {
	half := max(1, connections/2)
	slowUntil, err := lru.New[string, time.Time](maxSlowReaders)
	if err != nil {
		panic(err) // only a size that is not positive is refused
	}
	return &ReadShare{newSlots(max(1, connections), maxWaitingReads), half, max(1, half-1), max(1, half/2), slowUntil}
}

// Enter waits until the caller of ctx may use one more connection to read from a boundary. Call leave after the read.
// The error is a gRPC status.
func (r *ReadShare) Enter(ctx context.Context, boundary string) (leave func(), err error) {
	caller, _ := auth.FromContext(ctx)
	return r.enter(ctx, caller.UserID, boundary)
}

func (r *ReadShare) enter(ctx context.Context, caller, boundary string) (leave func(), err error) {
	var free func()
	for {
		wasSlow := r.isSlow(caller)
		if free, err = r.slots.enter(ctx, r.claims(caller, boundary, wasSlow)...); err != nil {
			return nil, r.refusal(ctx, boundary, wasSlow, err)
		}
		if wasSlow || !r.isSlow(caller) {
			break
		}
		free() // an earlier read of the caller proved slow while this one waited
	}
	limit := func() { r.slowUntil.Add(caller, time.Now().Add(slowReaderFor)) }
	proves := time.AfterFunc(slowRead, limit)
	return func() {
		if !proves.Stop() {
			limit()
		}
		free()
	}, nil
}

func (r *ReadShare) isSlow(caller string) bool {
	until, found := r.slowUntil.Peek(caller)
	return found && time.Now().Before(until)
}

func (r *ReadShare) claims(caller, boundary string, isSlow bool) []claim {
	claims := []claim{{"caller " + caller, r.caller}, {"boundary " + boundary, r.boundary}}
	if isSlow {
		claims = append(claims, claim{"slow caller " + caller, 1}, claim{"slow callers", r.slow})
	}
	return claims
}

// refusal is the gRPC status for a read that got no connection.
func (r *ReadShare) refusal(ctx context.Context, boundary string, isSlow bool, err error) error {
	var full slotsFullError
	if !errors.As(err, &full) {
		return toStatus(ctx, err)
	}
	running := r.caller
	if isSlow {
		running = 1
	}
	return retryLater(codes.ResourceExhausted, fmt.Sprintf(
		"%d reads of this user in boundary %q wait already, and %d run at a time (ORISUN_PG_READ_MAX_OPEN_CONNS): "+
			"try again, or create the index that makes them quick", full.waiting, boundary, running), err)
}

// reading runs read with one connection of the caller's share. Its error is a gRPC status.
func reading[T any](
	ctx context.Context, s *EventStore, boundary string, read func(db.DBTX) (T, error),
) (result T, err error) {
	leave, err := s.reads.Enter(ctx, boundary)
	if err != nil {
		return result, err
	}
	defer leave()
	result, err = read(s.config.Read)
	return result, toStatus(ctx, err)
}

// lastPosition is the position of a boundary's last event. Its error is a gRPC status.
func (s *EventStore) lastPosition(ctx context.Context, boundary string) (db.OrisunEventPosition, error) {
	return reading(ctx, s, boundary, func(tx db.DBTX) (db.OrisunEventPosition, error) {
		return s.queries.GetLastPosition(ctx, tx, boundary)
	})
}
