package auth

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-retry"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/db"
)

const (
	// Trust is how long a node relies on its cached state of users before it reads the state again. Deleting a user or
	// changing a password takes at least that long. A busy node makes at most ten such queries a second, an idle one
	// none.
	Trust = 200 * time.Millisecond
	// queryTimeout is the timeout of a query for the state.
	queryTimeout = 5 * time.Second
	// outageLimit is how long a call waits while PostgreSQL is unavailable: as long as a save does.
	outageLimit = time.Minute
)

// knowledge caches the latest state of the directory, which is used while it is at most Trust old.
type knowledge struct {
	query   func(context.Context) (db.OrisunAuthState, error)
	latest  atomic.Pointer[known]
	queries singleflight.Group
	renewal atomic.Bool // under way
}

type known struct {
	state db.OrisunAuthState
	sent  time.Time // before the query was sent: all that was committed until then is in the answer
}

// get answers at once while the cached state is less than Trust old, and from half of Trust on renews it in the
// background. Otherwise it waits for PostgreSQL; its error is then a gRPC status.
func (k *knowledge) get(ctx context.Context) (db.OrisunAuthState, error) {
	latest := k.latest.Load()
	if latest == nil {
		return k.wait(ctx)
	}
	switch age := time.Since(latest.sent); {
	case age >= Trust:
		return k.wait(ctx)
	case age >= Trust/2 && k.renewal.CompareAndSwap(false, true):
		answer := k.renew()
		go func() {
			<-answer // its failure is reported by the next call that waits
			k.renewal.Store(false)
		}()
	}
	return latest.state, nil
}

// wait queries until there is an answer, as long as PostgreSQL is only temporarily unavailable.
func (k *knowledge) wait(ctx context.Context) (db.OrisunAuthState, error) {
	var state db.OrisunAuthState
	backoff := retry.WithMaxDuration(outageLimit,
		retry.WithCappedDuration(time.Second, retry.NewFibonacci(50*time.Millisecond)))
	err := retry.Do(ctx, backoff, func(ctx context.Context) error {
		select {
		case answer := <-k.renew():
			latest, answered := answer.Val.(*known)
			switch {
			case answered && time.Since(latest.sent) < Trust:
				state = latest.state
				return nil
			case answered:
				return retry.RetryableError(status.Error(codes.Unavailable,
					"PostgreSQL answers too slowly to know who may call; try again"))
			case status.Code(answer.Err) == codes.Unavailable || status.Code(answer.Err) == codes.DeadlineExceeded:
				return retry.RetryableError(answer.Err)
			}
			return answer.Err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if ctx.Err() != nil {
		return state, status.FromContextError(ctx.Err()).Err()
	}
	return state, err
}

// renew runs one query for all concurrent callers. The answer is a *known.
func (k *knowledge) renew() <-chan singleflight.Result {
	return k.queries.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
		defer cancel()
		sent := time.Now()
		state, err := k.query(ctx)
		if err != nil {
			return nil, err
		}
		latest := &known{state, sent}
		k.latest.Store(latest)
		return latest, nil
	})
}
