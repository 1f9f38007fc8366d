package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/inflight"
)

// smallPageBytes is what a page of ten events takes; a larger one grows from there.
const smallPageBytes = 8 << 10

// GetEvents answers one page. Errors: INVALID_ARGUMENT with field paths, NOT_FOUND for an unknown boundary,
// RESOURCE_EXHAUSTED when the page is larger than the send limit, UNAVAILABLE. Beside saves, pages of more than 100 events take turns (page_turns.go).
//
// The events of the answer are there in wire form only: Go code that calls this method without gRPC finds none until it has marshalled and unmarshalled it.
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
	page, err := s.readPage(ctx, params)
	for err != nil {
		// What was read so far is garbage while this call waits: nothing below the loop uses it.
		if !inflight.FromContext(ctx).Again(ctx, err) {
			return nil, err
		}
		page, err = s.readPage(ctx, params)
	}
	s.advice.note(ctx, in.GetBoundary(), in.GetQuery().GetCriteria())
	// On the wire a field that is set and one that is kept as unknown are the same bytes: the events are encoded once, where they are read.
	answer := &orisunpb.GetEventsResponse{}
	answer.ProtoReflect().SetUnknown(page)
	return answer, nil
}

// readPage reads a page in wire form. While there are saves, a large one is read in two parts, of which the second waits for its turn: what is
// before or after a position never changes, so the parts are what the whole would have been, or have more at its end.
func (s *EventStore) readPage(ctx context.Context, params db.GetEventsParams) ([]byte, error) {
	page := pageReader{store: s, call: inflight.FromContext(ctx)}
	rest := params
	if params.Count > smallPage && s.pages.wanted() {
		params.Count = smallPage
	}
	err := page.read(ctx, params)
	if rest.Count -= int32(page.events); err != nil || rest.Count == 0 || page.events < int(params.Count) {
		return page.bytes, err
	}
	done, err := s.pages.take(ctx)
	if err != nil {
		return nil, toStatus(ctx, err)
	}
	defer done()
	last := page.last
	rest.Inclusive, rest.TransactionID, rest.GlobalID = false, &last.transactionID, &last.globalID
	err = page.read(ctx, rest)
	return page.bytes, err
}

// pageReader collects the events of a page.
type pageReader struct {
	store  *EventStore
	call   *inflight.Call // which counts the bytes
	bytes  []byte
	events int
	last   position // of the last event
}

// read appends what a question finds. A small page is asked for together with others.
func (p *pageReader) read(ctx context.Context, params db.GetEventsParams) error {
	question, err := p.store.pageQuestion(ctx, params)
	switch {
	case err != nil:
	case p.bytes == nil && question.quick && params.Count <= smallPage:
		err = p.store.groups.read(ctx, question, p)
	default:
		err = p.ask(ctx, question)
	}
	return toStatus(ctx, p.store.forgetPage(question.shape, err))
}

// ask appends what PostgreSQL answers.
func (p *pageReader) ask(ctx context.Context, question pageQuestion) error {
	query, cancel := context.WithCancel(ctx) // which ends the query
	defer cancel()
	rows, err := p.store.config.Read.Query(query, question.statement, question.arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err = p.collect(rows); err != nil {
		cancel() // rather than reading to the end what is of no use
	}
	return err
}

// collect appends rows. A page is cut off by its bytes while it is read: its events together may be larger than the memory.
func (p *pageReader) collect(rows pgx.Rows) (err error) {
	if p.bytes == nil {
		p.bytes = make([]byte, 0, smallPageBytes)
	}
	for ; rows.Next(); p.events++ {
		held := cap(p.bytes)
		if p.bytes, err = appendEvent(p.bytes, rows, &p.last); err != nil {
			return err
		}
		if err = p.call.Grow(cap(p.bytes) - held); err != nil {
			return err
		}
		if limit := p.store.config.MaxPageBytes; len(p.bytes) > limit {
			return pageTooLarge(limit, fmt.Sprintf("ask with count at most %d", max(p.events, 1)))
		}
	}
	return rows.Err()
}

// pageParams checks a question, whose fields' paths begin with prefix, and puts it as orisun.get_events takes it.
func pageParams(prefix string, in *orisunpb.GetEventsRequest) (params db.GetEventsParams, err error) {
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

	params = db.GetEventsParams{
		Boundary: in.GetBoundary(), Inclusive: in.GetAfterPosition() == nil, Descending: in.GetDirection() == orisunpb.Direction_DESC, Count: int32(in.GetCount()),
	}
	if params.Count == 0 {
		params.Count = defaultCount
	}
	if begin := in.GetFromPosition(); begin != nil {
		params.TransactionID, params.GlobalID = &begin.TransactionId, &begin.GlobalId
	} else if begin := in.GetAfterPosition(); begin != nil {
		params.TransactionID, params.GlobalID = &begin.TransactionId, &begin.GlobalId
	}
	params.TagCriteria, params.TagKeys, params.TagValues = tagArrays(in.GetQuery().GetCriteria())
	return params, nil
}

// tagArrays is criteria as orisun.get_events takes them. A criterion without tags matches every event, which is what no tags at all say.
func tagArrays(criteria []*orisunpb.Criterion) (numbers []int32, keys, values []string) {
	numbers, keys, values = []int32{}, []string{}, []string{}
	for i, criterion := range criteria {
		if len(criterion.GetTags()) == 0 {
			return []int32{}, []string{}, []string{}
		}
		for _, tag := range criterion.GetTags() {
			numbers, keys, values = append(numbers, int32(i+1)), append(keys, tag.GetKey()), append(values, tag.GetValue())
		}
	}
	return numbers, keys, values
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

// encodeCriteria is the JSON that the reading functions take; it is that of the API.
func encodeCriteria(criteria []*orisunpb.Criterion) (string, error) {
	type tag struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	type criterion struct {
		Tags []tag `json:"tags"`
	}
	encoded := make([]criterion, len(criteria))
	for i, c := range criteria {
		encoded[i].Tags = make([]tag, len(c.GetTags()))
		for j, t := range c.GetTags() {
			encoded[i].Tags[j] = tag{t.GetKey(), t.GetValue()}
		}
	}
	text, err := json.Marshal(encoded)
	return string(text), err
}
