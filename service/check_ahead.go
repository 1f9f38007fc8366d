package service

import (
	"context"
	"errors"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// aheadTail is how many events a check without an index reads under the boundary's lock: it takes some
	// milliseconds.
	aheadTail = 4096
	// aheadWork is how many events times tags such a check may compare.
	aheadWork = 8 * aheadTail
	// aheadWindow is how many events a check ahead reads with one statement.
	aheadWindow = 8192
)

// errSlowCheck says that the checks of a flush took longer than checkBudget.
var errSlowCheck = errors.New("the check of a save took too long beside the saves of others")

// checkedAheadKey marks the context of a save whose check was made ahead.
type checkedAheadKey struct{}

func isCheckedAhead(ctx context.Context) bool { return ctx.Value(checkedAheadKey{}) != nil }

// save has a request flushed. A save whose check would delay the other saves of its boundary is checked ahead.
func (s *EventStore) save(ctx context.Context, save checkedSave) (db.OrisunSaveResult, error) {
	in := save.request
	if !s.needsCheckAhead(ctx, in) {
		result, err := s.saves.Do(ctx, in.GetBoundary(), save)
		if !errors.Is(err, errSlowCheck) {
			return result, err
		}
		s.advice.noteSlow(in.GetBoundary(), contextOf(in))
	}
	checked, conflict, err := s.checkAhead(ctx, in)
	if err != nil && !IsTransient(err) { // the flush retries until an outage has ended
		return db.OrisunSaveResult{}, err
	}
	result, err := s.saves.Do(context.WithValue(ctx, checkedAheadKey{}, true), in.GetBoundary(),
		checkedSave{checked, save.printed})
	if conflict != nil && result.Outcome == outcomeContextChanged {
		result.TransactionID, result.GlobalID = conflict.GetTransactionId(), conflict.GetGlobalId()
	}
	return result, err
}

// needsCheckAhead returns whether no index is known to serve a save's context, and many events lie after the expected
// position.
func (s *EventStore) needsCheckAhead(ctx context.Context, in *orisunpb.SaveEventsRequest) bool {
	if !s.advice.isSlow(ctx, in.GetBoundary(), contextOf(in)) {
		return false
	}
	last, err := s.lastPosition(ctx, in.GetBoundary())
	if err != nil {
		return false
	}
	tail, tags := last.GlobalID-expectedPosition(in).GetGlobalId(), 0
	for _, criterion := range contextOf(in) {
		tags += len(criterion.GetTags())
	}
	return tail > aheadTail || tail*int64(tags) > aheadWork
}

// checkAhead looks for a conflicting event as a read does, without the boundary's lock and in short statements. Without
// a conflict, it returns the request with a later expected position, up to which there is none: the flush reads only
// newer events. With a conflict, the returned request expects a position that no event has. The flush then refuses it
// quickly, unless it is stored already.
func (s *EventStore) checkAhead(
	ctx context.Context, in *orisunpb.SaveEventsRequest,
) (checked *orisunpb.SaveEventsRequest, conflict *orisunpb.Position, err error) {
	after := expectedPosition(in)
	if after.GetTransactionId() == 0 && after.GetGlobalId() == 0 { // as {-1,-1}: no event
		after = &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	}
	if isEvent, err := s.isStored(ctx, in.GetBoundary(), after); err != nil || !isEvent {
		return in, nil, err
	}
	criteria := boundary.Criteria(contextOf(in))
	for {
		found, err := s.follow(ctx, in.GetBoundary(), criteria, after, aheadWindow)
		switch {
		case err != nil, found == nil:
			return expecting(in, after), nil, err
		case found.Matches:
			return expecting(in, &orisunpb.Position{TransactionId: math.MaxInt64, GlobalId: math.MaxInt64}),
				&orisunpb.Position{TransactionId: found.TransactionID, GlobalId: found.GlobalID}, nil
		}
		after = &orisunpb.Position{TransactionId: found.TransactionID, GlobalId: found.GlobalID}
	}
}

// isStored returns whether the position is that of an event, or that of no event.
func (s *EventStore) isStored(ctx context.Context, name string, at *orisunpb.Position) (bool, error) {
	if at.GetGlobalId() < 0 {
		return at.GetTransactionId() == -1 && at.GetGlobalId() == -1, nil
	}
	found, err := s.follow(ctx, name, []string{},
		&orisunpb.Position{TransactionId: at.GetTransactionId(), GlobalId: at.GetGlobalId() - 1}, 1)
	return found != nil && found.TransactionID == at.GetTransactionId() && found.GlobalID == at.GetGlobalId(), err
}

// follow returns the first event after a position that matches, else the last one of the window; nil if no event lies
// after it.
func (s *EventStore) follow(
	ctx context.Context, name string, criteria []string, after *orisunpb.Position, window int32,
) (*db.OrisunFollowedEvent, error) {
	rows, err := reading(ctx, s, name, func(tx db.DBTX) ([]db.OrisunFollowedEvent, error) {
		own, err := s.boundaries.On(ctx, tx, name)
		if err != nil {
			return nil, err
		}
		rows, err := s.queries.FollowEvents(ctx, own, db.FollowEventsParams{
			Criteria: criteria, TransactionID: after.GetTransactionId(), GlobalID: after.GetGlobalId(),
			ScanWindow: window, Count: 1,
		})
		return rows, s.boundaries.Check(name, err)
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// expecting is a copy of a request with another expected position; it shares the rest.
func expecting(in *orisunpb.SaveEventsRequest, position *orisunpb.Position) *orisunpb.SaveEventsRequest {
	if proto.Equal(expectedPosition(in), position) {
		return in
	}
	return &orisunpb.SaveEventsRequest{Boundary: in.GetBoundary(), Events: in.GetEvents(), Query: &orisunpb.SaveQuery{
		ExpectedPosition: position, Criteria: in.GetQuery().GetCriteria(), SubsetQuery: in.GetQuery().GetSubsetQuery(),
	}}
}
