package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// writers is how many clients read and save concurrently. Two for each group are enough for conflicts, and few
	// enough for a short search.
	writers = 12
	// callLimit is how long a client waits for an answer before it tries another node, attempts how often it does.
	// Waiting clients disturb no other client, so it is short. It is long enough for an answer on a busy machine.
	callLimit = 1500 * time.Millisecond
	attempts  = 8
)

// seeded is the source of all random decisions for one of the round's parts.
func seeded(seed, part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, part)) //nolint:gosec // what a seed repeats must not be secret
}

// load is the requests of the clients and the answers to them.
type load struct {
	c       *cluster
	started time.Time

	mu         sync.Mutex
	operations []*operation
	anomalies  []string
}

func (l *load) since() time.Duration { return time.Since(l.started) }

func (l *load) note(o *operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operations = append(l.operations, o)
}

func (l *load) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.anomalies = append(l.anomalies, fmt.Sprintf(format, args...))
}

// said returns the anomalies so far.
func (l *load) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.anomalies)
}

// write reads contexts, decides and saves until ctx ends.
func (l *load) write(ctx context.Context, client int, rng *rand.Rand) {
	stale := map[int]*orisunpb.Position{}
	for i := 0; ctx.Err() == nil; i++ {
		q := request{group: rng.IntN(groups), context: keys(1 + rng.IntN(1<<keysPerGroup-1))}
		seen, ok := l.read(client, q, rng)
		if !ok {
			rest(ctx, time.Duration(rng.IntN(100))*time.Millisecond)
			continue
		}
		if rng.IntN(4) == 0 {
			continue
		}
		if old := stale[q.group]; old != nil && rng.IntN(10) == 0 {
			seen = old // a decision on an old state must not be stored
		}
		stale[q.group] = seen
		q.save, q.expected, q.events = true, seen.GetGlobalId(), choose(q.context, rng)
		l.save(client, fmt.Sprintf("c%d-%d", client, i), q, seen, rng)
		rest(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
	}
}

// choose makes one or two events with keys of the context.
func choose(context keys, rng *rand.Rand) (events []keys) {
	for range 1 + rng.IntN(2) {
		one := pick(context, rng)
		if other := pick(context, rng); rng.IntN(2) == 0 {
			one |= other
		}
		events = append(events, one)
	}
	return events
}

func pick(context keys, rng *rand.Rand) keys {
	for {
		if key := keys(1) << rng.IntN(keysPerGroup); context&key != 0 {
			return key
		}
	}
}

// read reads the latest event of a context, in one of three ways. It does not retry: a later read is another
// operation.
func (l *load) read(client int, q request, rng *rand.Rand) (seen *orisunpb.Position, ok bool) {
	n := l.c.nodes[rng.IntN(nodes)]
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	o := &operation{client: client, sent: q, known: true, called: l.since(), attempts: 1}
	criteria := criteriaOf(q.group, q.context)
	seen = &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	var err error
	switch rng.IntN(4) {
	case 0:
		var page *orisunpb.GetEventsResponse
		page, err = n.store.GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: boundary, Count: 1, Direction: orisunpb.Direction_DESC, Query: &orisunpb.Query{Criteria: criteria},
		})
		if len(page.GetEvents()) > 0 {
			seen = page.GetEvents()[0].GetPosition()
		}
	case 1:
		var page *orisunpb.GetEventsResponse
		page, err = n.store.GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: boundary, Count: 10_000, Query: &orisunpb.Query{Criteria: criteria},
		})
		o.seen = []string{}
		for _, event := range page.GetEvents() {
			seen = event.GetPosition()
			o.seen, o.seenPositions = append(o.seen, event.GetEventId()), append(o.seenPositions, seen.GetGlobalId())
		}
	default:
		var latest *orisunpb.GetLatestByCriteriaResponse
		latest, err = n.store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
			Boundary: boundary, Criteria: criteria,
		})
		if err == nil {
			seen = latest.GetContextPosition()
		}
	}
	o.ended = l.since()
	if err != nil {
		if !mayFail(err) {
			l.say("a read on %s failed with %v", n.name, err)
		}
		return nil, false
	}
	o.received = response{position: seen.GetGlobalId()}
	l.note(o)
	return seen, true
}

// save retries until it knows the outcome, each time on another node and always with the same ids, or stops after the
// last attempt.
func (l *load) save(client int, id string, q request, expected *orisunpb.Position, rng *rand.Rand) {
	request := &orisunpb.SaveEventsRequest{
		Boundary: boundary,
		Query:    &orisunpb.SaveQuery{ExpectedPosition: expected, Criteria: criteriaOf(q.group, q.context)},
	}
	for i, event := range q.events {
		request.Events = append(request.Events, &orisunpb.EventToSave{
			EventId: eventID(id, i), EventType: "Tortured", Data: documentOf(q.group, event),
		})
	}
	o := &operation{client: client, id: id, sent: q, called: l.since()}
	for o.attempts = 1; o.attempts <= attempts && !o.known; o.attempts++ {
		n := l.c.nodes[rng.IntN(nodes)]
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		result, err := n.store.SaveEvents(ctx, request)
		cancel()
		switch conflict, is := conflictOf(err); {
		case err == nil:
			o.known, o.received = true, response{position: result.GetLogPosition().GetGlobalId()}
		case is:
			o.known, o.received = true, response{position: conflict, conflict: true}
		case !mayFail(err):
			l.say("save %s on %s failed with %v", id, n.name, err)
			o.attempts = attempts
		}
	}
	o.ended = l.since()
	l.note(o)
}

// conflictOf is the position of the conflicting event.
func conflictOf(err error) (globalID int64, is bool) {
	if status.Code(err) != codes.AlreadyExists {
		return 0, false
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if _, err := fmt.Sscan(info.GetMetadata()["actual_global_id"], &globalID); err == nil {
				return globalID, true
			}
		}
	}
	return 0, false
}

// mayFail reports whether faults explain an error: a node or PostgreSQL is away or slow. Any other error is an
// anomaly.
func mayFail(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}
