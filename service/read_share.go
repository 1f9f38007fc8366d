package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
	// slowReads is the total duration of slow reads from which on their caller is limited. A quick read can become slow
	// by the reads of others, and its caller must not share their limit for it.
	slowReads = 2 * time.Second
	// slowReaderFor is how long after a slow read its caller is limited, and how long its duration counts.
	slowReaderFor = 10 * time.Second
	// maxSlowReaders is how many callers are known as slow; the least recently slow ones are dropped.
	maxSlowReaders = 10_000
)

// ReadShare divides the connections of the read pool. A boundary uses at most half of them at a time, and a caller at
// most one less than that. So other boundaries, and other callers of the same boundary, always find one.
//
// A slow read occupies a processor of PostgreSQL, too, and there may be fewer of them than connections. So a caller
// with slow reads of slowReads in all gets one connection until slowReaderFor after the last one. That includes its
// reads that wait already. All such callers together get a quarter of the pool.
//
// ReadShare is safe for concurrent use.
type ReadShare struct {
	slots                  *slots
	boundary, caller, slow int

	mu       sync.Mutex
	slowness *lru.Cache[string, slowness] // by caller
}

// slowness is the total duration of a caller's slow reads, of which none was slowReaderFor after the one before.
type slowness struct {
	total time.Duration
	last  time.Time
}

// NewReadShare divides this number of connections.
func NewReadShare(connections int) *ReadShare {
	half := max(1, connections/2)
	slow, err := lru.New[string, slowness](maxSlowReaders)
	if err != nil {
		panic(err) // only a size that is not positive is refused
	}
	return &ReadShare{
		slots: newSlots(max(1, connections), maxWaitingReads), boundary: half, caller: max(1, half-1), slow: max(1, half/2),
		slowness: slow,
	}
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
	proves := time.AfterFunc(slowRead, func() { r.count(caller, slowRead) })
	began := time.Now()
	return func() {
		if !proves.Stop() {
			r.count(caller, time.Since(began)-slowRead)
		}
		free()
	}, nil
}

// count adds to the duration of a caller's slow reads.
func (r *ReadShare) count(caller string, duration time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, _ := r.slowness.Get(caller)
	if time.Since(known.last) >= slowReaderFor {
		known.total = 0
	}
	r.slowness.Add(caller, slowness{known.total + duration, time.Now()})
}

func (r *ReadShare) isSlow(caller string) bool {
	known, found := r.slowness.Peek(caller)
	return found && known.total >= slowReads && time.Since(known.last) < slowReaderFor
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
