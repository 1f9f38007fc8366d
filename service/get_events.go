package service

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/db/boundary"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// smallPageBytes is what a page of ten events takes; a larger one grows from there.
const smallPageBytes = 8 << 10

// GetEvents returns one page. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary,
// RESOURCE_EXHAUSTED when the page is larger than the send limit, UNAVAILABLE.
//
// The events of the answer are there in wire form only: Go code that calls this method without gRPC finds none until it has
// marshalled and unmarshalled it.
func (s *EventStore) GetEvents(ctx context.Context, in *orisunpb.GetEventsRequest) (*orisunpb.GetEventsResponse, error) {
	params, err := pageParams("", in)
	if err != nil {
		return nil, err
	}
	leave, err := s.reads.Enter(ctx, in.GetBoundary())
	if err != nil {
		return nil, err
	}
	defer leave()
	page, err := s.readPage(ctx, in.GetBoundary(), params)
	for err != nil {
		// What was read so far is garbage while this call waits: nothing below the loop uses it.
		if !inflight.FromContext(ctx).Again(ctx, err) {
			return nil, toStatus(ctx, s.boundaries.Check(in.GetBoundary(), err))
		}
		page, err = s.readPage(ctx, in.GetBoundary(), params)
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetQuery().GetCriteria())
	// On the wire a field that is set and one that is kept as unknown are the same bytes: the events are encoded once, where they are read.
	answer := &orisunpb.GetEventsResponse{}
	answer.ProtoReflect().SetUnknown(page)
	return answer, nil
}

// readPage reads a page in wire form.
func (s *EventStore) readPage(ctx context.Context, name string, params db.ReadPageParams) ([]byte, error) {
	own, err := s.boundaries.On(ctx, s.config.Read, name)
	if err != nil {
		return nil, err
	}
	query, cancel := context.WithCancel(ctx) // which ends the query
	defer cancel()
	rows, err := own.Query(query, db.ReadPage, params.Criteria, params.AfterTransactionID, params.AfterGlobalID,
		params.EndTransactionID, params.EndGlobalID, params.Descending, params.Count)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page, err := s.encodePage(ctx, rows)
	if err != nil {
		cancel() // rather than reading the rest, which is of no use
	}
	return page, err
}

// encodePage encodes rows. A page is cut off by its bytes while it is read: its events together may be larger than the memory.
func (s *EventStore) encodePage(ctx context.Context, rows pgx.Rows) (page []byte, err error) {
	call := inflight.FromContext(ctx) // which counts the bytes
	page = make([]byte, 0, smallPageBytes)
	for n := 0; rows.Next(); n++ {
		held := cap(page)
		if page, err = appendEvent(page, rows); err != nil {
			return nil, err
		}
		if err = call.Grow(cap(page) - held); err != nil {
			return nil, err
		}
		if limit := s.config.MaxPageBytes; len(page) > limit {
			return nil, pageTooLarge(limit, fmt.Sprintf("ask with count at most %d", max(n, 1)))
		}
	}
	return page, rows.Err()
}

// pageParams checks a page's fields, whose paths begin with prefix, and returns them as read_page takes them.
func pageParams(prefix string, in *orisunpb.GetEventsRequest) (params db.ReadPageParams, err error) {
	var v violations
	v.boundary(in.GetBoundary())
	v.criteria("query.criteria", in.GetQuery().GetCriteria())
	if in.GetCount() > maxCount {
		v.add("count", "is %d, at most %d events fit a page; ask for the next page with after_position", in.GetCount(), maxCount)
	}
	if in.GetDirection() != orisunpb.Direction_ASC && in.GetDirection() != orisunpb.Direction_DESC {
		v.add("direction", "is %d, neither ASC (0) nor DESC (1)", in.GetDirection())
	}
	if in.GetFromPosition() != nil && in.GetAfterPosition() != nil {
		v.add("after_position", "excludes from_position: a page begins at one of them")
	}
	for _, violation := range v {
		violation.Field = prefix + violation.GetField()
	}
	if err := v.err(); err != nil {
		return params, err
	}

	params = db.ReadPageParams{
		Criteria: boundary.Criteria(in.GetQuery().GetCriteria()), Descending: in.GetDirection() == orisunpb.Direction_DESC, Count: int32(in.GetCount()),
	}
	if params.Count == 0 {
		params.Count = defaultCount
	}
	if begin := in.GetFromPosition(); begin != nil {
		setRange(&params, begin.GetTransactionId(), begin.GetGlobalId(), true)
	} else if begin := in.GetAfterPosition(); begin != nil {
		setRange(&params, begin.GetTransactionId(), begin.GetGlobalId(), false)
	}
	return params, nil
}

// setRange lets a page begin at a position, that one included or not: read_page takes the position after which, and the one
// before which to read.
func setRange(params *db.ReadPageParams, transactionID, globalID int64, inclusive bool) {
	switch {
	case params.Descending:
		if inclusive && globalID < math.MaxInt64 {
			globalID++
		}
		params.EndTransactionID, params.EndGlobalID = &transactionID, &globalID
	default:
		if inclusive && globalID > math.MinInt64 {
			globalID--
		}
		params.AfterTransactionID, params.AfterGlobalID = &transactionID, &globalID
	}
}

// scanEvent reads a row of orisun.event; more are the destinations of the columns that follow.
func scanEvent(rows pgx.Rows, more ...any) (*orisunpb.Event, error) {
	event := &orisunpb.Event{Position: &orisunpb.Position{}}
	var created time.Time
	err := rows.Scan(append([]any{
		&event.Position.GlobalId, &event.Position.TransactionId, &created,
		&event.EventId, &event.EventType, &event.Data, &event.Metadata,
	}, more...)...)
	event.DateCreated = timestamppb.New(created)
	return event, err
}

// eventSize is what an event takes in an answer: its own bytes, tag and length.
func eventSize(event *orisunpb.Event) int {
	const tagAndLength = 6
	return proto.Size(event) + tagAndLength
}

func pageTooLarge(limit int, advice string) error {
	return status.Error(codes.ResourceExhausted, fmt.Sprintf(
		"the answer is larger than the %d bytes that one may take (ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE): %s", limit, advice))
}
