package service

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/auth"
	"github.com/oexza/orisun/service/groupcommit"
	"github.com/oexza/orisun/service/inflight"
)

const (
	// smallPage is the largest count of a page that may share a round trip with others: decisions usually read that
	// many events.
	smallPage = 100
	// smallResponseBytes is the largest answer of a statement that shares a round trip, since others wait for it.
	smallResponseBytes = 1 << 20
	// groupBudget is how long a group of reads may take. A read by an index takes well under a millisecond.
	groupBudget = 500 * time.Millisecond
)

// readGroupOptions bound a group: more reads save little, and the first of them waits for the last. The criteria of a
// group are read by one statement.
var readGroupOptions = groupcommit.Options[smallRead]{
	MaxRequests: 32, MaxItems: 256,
	Size:  func(r smallRead) (items, bytes int) { return max(1, len(r.criteria)), 0 },
	Trace: traceOfFirst,
}

// smallRead is a read that may share a round trip: a page, or the latest events of criteria.
type smallRead struct {
	caller   string
	boundary string
	page     *db.ReadPageParams // nil: the latest events are read
	criteria []string           // the criteria whose latest events are read
}

// smallResponse is the result of a read: a page in wire form, or for each criterion its latest event, nil for none.
type smallResponse struct {
	page   []byte
	latest []*orisunpb.Event
	bytes  int
	err    error
}

// errReadAlone says that a read is not suited to a group: it is large, slow, or failed there.
var errReadAlone = errors.New("this read runs by itself")

// readGrouped combines a read with the small reads of the same caller and boundary that come at the same time: waking
// the processes on either side takes longer than such a read does. As many groups run at a time as half of the
// processors. Criteria without an index may take long, so no other read waits for them.
func (s *EventStore) readGrouped(
	ctx context.Context, criteria []*orisunpb.Criterion, read smallRead,
) (smallResponse, error) {
	if !s.boundaries.Knows(read.boundary) || read.page != nil && read.page.Count > smallPage ||
		s.advice.isSlow(ctx, read.boundary, criteria) {
		return smallResponse{}, errReadAlone
	}
	caller, _ := auth.FromContext(ctx)
	read.caller = caller.UserID
	lane := strconv.Itoa(rand.IntN(max(1, runtime.GOMAXPROCS(0)/2))) //nolint:gosec // no secret
	answer, err := s.readGroups.Do(ctx, read.boundary+"\x00"+read.caller+"\x00"+lane, read)
	switch {
	case errors.Is(err, groupcommit.ErrQueueFull):
		return answer, errReadAlone
	case err != nil:
		return answer, toStatus(ctx, err)
	case answer.err != nil || inflight.FromContext(ctx).Grow(answer.bytes) != nil:
		return answer, errReadAlone
	}
	return answer, nil
}

// flushReads reads a group in one round trip: the latest events by one statement, each page by another. A read that
// fails, and those behind it, are repeated alone.
func (s *EventStore) flushReads(ctx context.Context, _ string, group []smallRead) ([]smallResponse, error) {
	answers := make([]smallResponse, len(group))
	for i := range answers {
		answers[i].err = errReadAlone
	}
	ctx, cancel := context.WithTimeout(ctx, groupBudget)
	defer cancel()
	rewrite, known := s.boundaries.Rewrite(group[0].boundary)
	if !known { // the boundary was deleted meanwhile
		return answers, nil
	}
	leave, err := s.reads.enter(ctx, group[0].caller, group[0].boundary)
	if err != nil {
		return answers, nil
	}
	defer leave()

	batch := &pgx.Batch{}
	var criteria []string
	for _, read := range group {
		if read.page == nil {
			criteria = append(criteria, read.criteria...)
		}
	}
	if criteria != nil {
		batch.Queue(rewrite(db.GetLatestByCriteria), criteria)
	}
	for _, read := range group {
		if read.page != nil {
			query, arguments := pageQuery(*read.page)
			batch.Queue(rewrite(query), arguments...)
		}
	}
	results := s.config.Read.SendBatch(ctx, batch)
	defer func() { _ = results.Close() }() // each read has its answer, or is repeated alone
	if criteria != nil {
		rows, _ := results.Query() // rows has the error
		latest, err := scanLatest(ctx, rows, len(criteria), smallResponseBytes)
		if rows.Err() != nil {
			return answers, nil
		}
		for i, read := range group {
			if read.page == nil && err == nil {
				answers[i] = smallResponse{latest: latest[:len(read.criteria)]}
				for _, event := range answers[i].latest {
					answers[i].bytes += eventSize(event) // 0 and a little for nil
				}
				latest = latest[len(read.criteria):]
			}
		}
	}
	for i, read := range group {
		if read.page != nil {
			rows, _ := results.Query()
			page, err := encodePage(ctx, rows, smallResponseBytes)
			if rows.Err() != nil { // the reads behind it failed, too
				break
			}
			if err == nil {
				answers[i] = smallResponse{page: page, bytes: len(page)}
			}
		}
	}
	return answers, nil
}

// traceOfFirst adds a group's statements to the trace of its first sampled read.
func traceOfFirst(
	ctx context.Context, _ string, callers iter.Seq2[context.Context, time.Time],
) (context.Context, func(error)) {
	for caller := range callers {
		if span := trace.SpanFromContext(caller); span.IsRecording() {
			return trace.ContextWithSpan(ctx, span), untraced
		}
	}
	return ctx, untraced
}
