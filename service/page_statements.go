package service

import (
	"context"
	"math"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/oexza/orisun/db"
)

const (
	// maxPageStatements and maxShapeBytes bound what is remembered, as shapes come from clients: a statement is a few times as long as its shape, so
	// that is some megabytes at most. A criterion with two tags takes about 30 bytes.
	maxPageStatements = 1024
	maxShapeBytes     = 1024
	// pageStatementLasts is after what time the indexes are looked at again: what is kept counts on one that was dropped since, and knows
	// none that was made.
	pageStatementLasts = time.Second
)

// pageStatements are what orisun.compose_page answered for the shapes of questions that come again and again. To run such a statement takes a third of
// what the way through orisun.get_events does, to compose one takes several times as long: so the first question of a shape in a while goes that way.
type pageStatements struct {
	kept *lru.Cache[string, pageStatement]
}

type pageStatement struct {
	text     string // empty: not composed yet or, if it is, dependent on values
	composed bool
	slow     bool // others do not wait for it
	since    time.Time
}

// pageQuestion is how PostgreSQL is asked for a page.
type pageQuestion struct {
	shape     string // what forgetPage takes
	statement string
	arguments []any
	quick     bool // as far as is known
}

func newPageStatements() *pageStatements {
	kept, err := lru.New[string, pageStatement](maxPageStatements)
	if err != nil {
		panic(err) // the size is positive
	}
	return &pageStatements{kept}
}

// pageQuestion puts a question as PostgreSQL takes it. Its shape is set also where there is an error.
func (s *EventStore) pageQuestion(ctx context.Context, params db.GetEventsParams) (pageQuestion, error) {
	question := pageQuestion{shape: shapeOf(params)}
	kept, err := s.statements.find(question.shape, func() (string, error) {
		return s.queries.ComposePage(ctx, s.config.Read, db.ComposePageParams{
			Boundary: params.Boundary, TagCriteria: params.TagCriteria, TagKeys: params.TagKeys, TagValues: params.TagValues,
			Bound: params.TransactionID != nil, Descending: params.Descending,
		})
	})
	if err != nil {
		return question, err
	}
	if kept.text == "" {
		question.statement = db.GetEvents
		question.arguments = []any{
			params.Boundary, params.TagCriteria, params.TagKeys, params.TagValues, params.TransactionID, params.GlobalID,
			params.Inclusive, params.Descending, params.Count,
		}
		return question, nil
	}
	begin := pageBegin(params)
	question.statement, question.quick = kept.text, !kept.slow
	question.arguments = []any{params.TagValues, params.Count, params.TransactionID, begin, params.TransactionID, begin}
	return question, nil
}

// find is the statement for a shape, or one without a text.
func (p *pageStatements) find(shape string, compose func() (string, error)) (pageStatement, error) {
	if len(shape) > maxShapeBytes {
		return pageStatement{}, nil
	}
	kept, known := p.kept.Get(shape)
	switch fresh := known && time.Since(kept.since) < pageStatementLasts; {
	case !fresh:
		p.kept.Add(shape, pageStatement{since: time.Now()})
		return pageStatement{}, nil
	case kept.composed:
		return kept, nil
	}
	text, err := compose()
	if err != nil {
		return pageStatement{}, err
	}
	if text != "" {
		text = "-- name: GetEvents :many\n" + text
	}
	kept = pageStatement{text: text, composed: true, since: time.Now()}
	p.kept.Add(shape, kept)
	return kept, nil
}

// noteSlow tells that a page of a shape took long.
func (p *pageStatements) noteSlow(shape string) {
	if kept, known := p.kept.Get(shape); known {
		kept.slow = true
		p.kept.Add(shape, kept)
	}
}

// forgetPage forgets the statement of a shape whose table is gone, as after a restore.
func (s *EventStore) forgetPage(shape string, err error) error {
	if isGone(err) {
		s.statements.kept.Remove(shape)
	}
	return err
}

// shapeOf tells apart what orisun.compose_page makes different statements of.
func shapeOf(params db.GetEventsParams) string {
	shape := make([]byte, 0, 128)
	shape = append(append(shape, params.Boundary...), 0)
	shape = strconv.AppendBool(shape, params.Descending)
	shape = strconv.AppendBool(shape, params.TransactionID != nil)
	for i, key := range params.TagKeys {
		shape = append(strconv.AppendInt(shape, int64(params.TagCriteria[i]), 10), ':')
		shape = append(strconv.AppendInt(shape, int64(len(key)), 10), ':')
		shape = append(shape, key...)
	}
	return string(shape)
}

// pageBegin is orisun.page_begin: the global_id of the first position that a page may hold.
func pageBegin(params db.GetEventsParams) *int64 {
	if params.GlobalID == nil || params.Inclusive {
		return params.GlobalID
	}
	begin := *params.GlobalID
	switch {
	case params.Descending && begin > math.MinInt64:
		begin--
	case !params.Descending && begin < math.MaxInt64:
		begin++
	}
	return &begin
}
