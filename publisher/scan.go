package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
)

// A scan looks at a window of positions in each page, so that a page takes bounded time where no index serves the
// criteria. The window follows the time that pages take.
const (
	firstWindow = 1 << 12
	lastWindow  = 1 << 20
	shortPage   = 50 * time.Millisecond
	longPage    = 250 * time.Millisecond

	firstCount = 64
)

// scan reads a boundary's events page by page with a subscriber's criteria.
type scan struct {
	feed     *Feed
	boundary string
	criteria []string

	window, count int32
}

func (f *Feed) newScan(name string, criteria []*orisunpb.Criterion) scan {
	return scan{feed: f, boundary: name, criteria: boundary.Criteria(criteria)}
}

// page is the next events after a position that match, and the position up to which all events that match are among
// them: the same position when nothing lies after it.
func (s *scan) page(ctx context.Context, after position) (events []*orisunpb.Event, end position, err error) {
	if s.window == 0 {
		s.window, s.count = firstWindow, min(firstCount, int32(s.feed.config.PageEvents))
	}
	for {
		events, end, err = s.query(ctx, after)
		if !isTimeout(err) || s.window == 1 || ctx.Err() != nil {
			return events, end, err
		}
		// Events became larger, or the server busier, than any page so far foretold.
		s.window = max(s.window/16, 1)
	}
}

func (s *scan) query(ctx context.Context, after position) (events []*orisunpb.Event, end position, err error) {
	leave, err := s.feed.config.Share(ctx, s.boundary)
	if err != nil {
		return nil, after, err
	}
	defer leave()
	conn, err := s.feed.config.Pool.Acquire(ctx)
	if err != nil {
		return nil, after, err
	}
	defer conn.Release()
	own, err := s.feed.own.On(ctx, conn, s.boundary)
	if err != nil {
		return nil, after, err
	}
	start := time.Now()
	rows, err := own.Query(ctx, db.FollowEvents, s.criteria, after.transactionID, after.globalID, s.window, s.count)
	if err != nil {
		return nil, after, s.feed.own.Check(s.boundary, err)
	}
	defer rows.Close()

	end = after
	bytes, cut := 0, false
	for rows.Next() {
		event := &orisunpb.Event{Position: &orisunpb.Position{}}
		var created time.Time
		var matches bool
		err := rows.Scan(&event.Position.GlobalId, &event.Position.TransactionId, &created,
			&event.EventId, &event.EventType, &event.Data, &event.Metadata, &matches)
		if err != nil {
			return nil, after, err
		}
		bytes += len(event.GetData()) + len(event.GetMetadata()) + len(event.GetEventId()) + len(event.GetEventType())
		if cut = len(events) > 0 && bytes > s.feed.config.PageBytes; cut {
			break
		}
		end = positionOf(event.GetPosition())
		if matches {
			event.DateCreated = timestamppb.New(created)
			events = append(events, event)
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, after, s.feed.own.Check(s.boundary, err)
	}
	s.adapt(time.Since(start), len(events), cut)
	return events, end, nil
}

// adapt chooses the next page's measures: as many events as fit its bytes, and a window that neither takes long nor
// many round trips.
func (s *scan) adapt(took time.Duration, found int, cut bool) {
	full := found == int(s.count)
	switch {
	case cut:
		s.count = int32(found)
	case full:
		s.count = min(2*s.count, int32(s.feed.config.PageEvents))
	}
	switch {
	case took > longPage:
		s.window = max(s.window/2, 1)
	case took < shortPage && !full && !cut:
		s.window = min(2*s.window, lastWindow)
	}
}

func isTimeout(err error) bool {
	const queryCanceled = "57014"
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == queryCanceled
}
