package service

import (
	"context"
	"encoding/binary"
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
	// groupBudget is how long a group of reads may take. A read by an index takes well under a millisecond, but all take
	// longer while PostgreSQL's processors are busy, and a group beyond the budget costs its connection.
	groupBudget = 2 * time.Second
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
	criteria []string
	page     *db.ReadPageParams // nil: the latest event of each criterion is read
}

// firstOfEach are reads that can be one statement: the first count events of each criterion, from one end.
type firstOfEach struct {
	descending bool
	count      int32
}

// firstOfEach returns false for a page that is one statement by itself: it has several criteria or a range.
func (r smallRead) firstOfEach() (firstOfEach, bool) {
	switch {
	case r.page == nil:
		return firstOfEach{descending: true, count: 1}, true
	case len(r.criteria) == 1 && r.page.AfterGlobalID == nil && r.page.EndGlobalID == nil:
		return firstOfEach{r.page.Descending, r.page.Count}, true
	default:
		return firstOfEach{}, false
	}
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

// flushReads reads a group in one round trip. Reads of the first events of criteria share a statement, and with it the
// cost of a call; every other page is a statement of its own. A statement that fails, and those behind it, are repeated
// alone.
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

	shared := map[firstOfEach][]int{} // the places of the reads in the group
	batch := &pgx.Batch{}
	for i, read := range group {
		if kind, ok := read.firstOfEach(); ok {
			shared[kind] = append(shared[kind], i)
			continue
		}
		query, arguments := pageQuery(*read.page)
		batch.Queue(rewrite(query), arguments...).Query(func(rows pgx.Rows) error {
			page, err := encodePage(ctx, rows, smallResponseBytes)
			if err == nil {
				answers[i] = smallResponse{page: page, bytes: len(page)}
			}
			return rows.Err()
		})
	}
	for kind, places := range shared {
		var criteria []string
		for _, i := range places {
			criteria = append(criteria, group[i].criteria...)
		}
		batch.Queue(rewrite(db.ReadFirstOfEach), criteria, kind.descending, kind.count).Query(func(rows pgx.Rows) error {
			found, err := scanFirstOfEach(rows, group, places)
			for n, i := range places {
				if err == nil {
					answers[i] = found[n]
				}
			}
			return err
		})
	}
	_ = s.config.Read.SendBatch(ctx, batch).Close() // each read has its answer, or is repeated alone
	return answers, nil
}

// scanFirstOfEach distributes the rows of a shared statement to its reads. A read whose answer is too large is repeated
// alone.
func scanFirstOfEach(rows pgx.Rows, group []smallRead, places []int) ([]smallResponse, error) {
	type owner struct{ read, criterion int }
	var owners []owner // by the number of the criterion in the statement
	found := make([]smallResponse, len(places))
	for n, i := range places {
		if group[i].page == nil {
			found[n].latest = make([]*orisunpb.Event, len(group[i].criteria))
		}
		for criterion := range group[i].criteria {
			owners = append(owners, owner{n, criterion})
		}
	}
	for rows.Next() {
		number := binary.BigEndian.Uint32(rows.RawValues()[eventColumns])
		of := owners[number-1]
		answer := &found[of.read]
		if answer.err != nil {
			continue
		}
		if answer.latest == nil {
			page, err := appendEvent(answer.page, rows)
			if err != nil {
				return nil, err
			}
			answer.page, answer.bytes = page, len(page)
		} else {
			event, err := scanEvent(rows, new(int32))
			if err != nil {
				return nil, err
			}
			answer.latest[of.criterion] = event
			answer.bytes += eventSize(event)
		}
		if answer.bytes > smallResponseBytes {
			*answer = smallResponse{err: errReadAlone}
		}
	}
	return found, rows.Err()
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
