package service

import (
	"context"
	"errors"
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

// smallPageBytes is the size of a page of ten events; the buffer of a larger one grows from there.
const smallPageBytes = 8 << 10

// GetEvents returns one page. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary,
// RESOURCE_EXHAUSTED when the page is larger than the send limit, UNAVAILABLE.
//
// The answer has its events in wire form only: Go code that calls this method without gRPC has to marshal and unmarshal
// it to get the events.
func (s *EventStore) GetEvents(
	ctx context.Context, in *orisunpb.GetEventsRequest,
) (*orisunpb.GetEventsResponse, error) {
	params, err := pageParams("", in)
	if err != nil {
		return nil, err
	}
	answer, err := s.readGrouped(ctx, in.GetQuery().GetCriteria(), smallRead{
		boundary: in.GetBoundary(), criteria: params.Criteria, page: &params,
	})
	page := answer.page
	if errors.Is(err, errReadAlone) {
		page, err = s.readPage(ctx, in.GetBoundary(), params)
	}
	if err != nil {
		return nil, err
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetQuery().GetCriteria())
	// A set field and an unknown field have the same bytes on the wire: the events are encoded once, where they are
	// read.
	encoded := &orisunpb.GetEventsResponse{}
	encoded.ProtoReflect().SetUnknown(page)
	return encoded, nil
}

// readPage reads a page in wire form. Its error is a gRPC status.
func (s *EventStore) readPage(ctx context.Context, name string, params db.ReadPageParams) ([]byte, error) {
	if params.Count > smallPage {
		leave, err := s.largePages.enter(ctx)
		if err != nil {
			return nil, toStatus(ctx, err)
		}
		defer leave()
	}
	leave, err := s.reads.Enter(ctx, name)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		page, err := s.readPageOnce(ctx, name, params)
		// What was read so far is garbage while this call waits.
		if err == nil || !inflight.FromContext(ctx).Again(ctx, err) {
			return page, toStatus(ctx, s.boundaries.Check(name, err))
		}
	}
}

func (s *EventStore) readPageOnce(ctx context.Context, name string, params db.ReadPageParams) ([]byte, error) {
	own, err := s.boundaries.On(ctx, s.config.Read, name)
	if err != nil {
		return nil, err
	}
	text, arguments := pageQuery(params)
	rows, err := own.Query(ctx, text, arguments...)
	if err != nil {
		return nil, err
	}
	return encodePage(ctx, rows, s.config.MaxPageBytes)
}

// pageQuery returns a page's query and arguments. Without criteria it is one that streams.
func pageQuery(p db.ReadPageParams) (query string, arguments []any) {
	arguments = []any{p.AfterTransactionID, p.AfterGlobalID, p.EndTransactionID, p.EndGlobalID, p.Descending, p.Count}
	if len(p.Criteria) == 0 {
		return db.ReadAll, arguments
	}
	return db.ReadPage, append([]any{p.Criteria}, arguments...)
}

// encodePage encodes rows, and closes them. It fails beyond limit bytes: all events of the page together may be
// larger than the memory.
func encodePage(ctx context.Context, rows pgx.Rows, limit int) (page []byte, err error) {
	defer rows.Close()
	call := inflight.FromContext(ctx) // counts the bytes
	page = make([]byte, 0, smallPageBytes)
	for n := 0; rows.Next(); n++ {
		held := cap(page)
		if page, err = appendEvent(page, rows); err != nil {
			return nil, err
		}
		if err = call.Grow(cap(page) - held); err != nil {
			return nil, err
		}
		if len(page) > limit {
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
		v.add("count", "is %d, at most %d events fit a page; ask for the next page with after_position",
			in.GetCount(), maxCount)
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
		Criteria: boundary.Criteria(in.GetQuery().GetCriteria()), Descending: in.GetDirection() == orisunpb.Direction_DESC,
		Count: int32(in.GetCount()),
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

// setRange lets a page begin at a position, inclusive or not: read_page takes the exclusive position after which, or
// before which, it reads.
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

// eventSize is the size of an event in an answer: its own bytes, tag and length.
func eventSize(event *orisunpb.Event) int {
	const tagAndLength = 6
	return proto.Size(event) + tagAndLength
}

func pageTooLarge(limit int, advice string) error {
	return status.Error(codes.ResourceExhausted, fmt.Sprintf(
		"the answer is larger than the %d bytes that one may take (ORISUN_GRPC_MAX_SEND_MESSAGE_SIZE): %s", limit, advice))
}
