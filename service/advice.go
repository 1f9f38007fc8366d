package service

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// maxShapes is how many shapes of criteria a node counts, in all boundaries together; further shapes are not
	// counted.
	maxShapes = 1000
	// warnAfter is how many criteria of a shape without an index cause a warning: a single query is no reason for an
	// index.
	warnAfter = 10
	// maxAdvice is the most shapes in the advice for a boundary.
	maxAdvice = 50
	// shapeRecheck is how often PostgreSQL is queried again for an index that serves a shape: other nodes, and users of
	// psql, make and drop indexes too.
	shapeRecheck = 30 * time.Second
	// slowLasts is for how long a shape counts as slow after the check of a save was slow.
	slowLasts = 30 * time.Second
	// queryTimeout is how long a save waits for the query whether an index serves its context.
	queryTimeout = time.Second
)

// adviser counts the criteria that no index serves. A shape is the set of a criterion's keys: it decides which index
// serves the criterion. PostgreSQL is queried for such an index from time to time; otherwise a criterion costs a look
// into a map.
type adviser struct {
	isServed func(ctx context.Context, boundary string, keys []string) (bool, error)
	log      *slog.Logger
	now      func() time.Time

	shapes atomic.Pointer[map[shape]*shapeUse] // replaced as a whole, so that reading takes no lock
	adding sync.Mutex
}

// shape is a boundary and the sorted, distinct keys, separated by NUL, which no key contains.
type shape struct{ boundary, keys string }

// shapeUse is the cached state of a shape. since and count cover the time in which no index served it; ever covers all
// such times.
type shapeUse struct {
	shape
	queried  atomic.Int64 // when PostgreSQL was queried last, in ns; 0: query it again
	unserved atomic.Bool
	since    atomic.Int64
	count    atomic.Int64
	ever     atomic.Int64
	slow     atomic.Int64 // until when, in ns
}

func newAdviser(
	isServed func(context.Context, string, []string) (bool, error), log *slog.Logger, now func() time.Time,
) *adviser {
	a := &adviser{isServed: isServed, log: log, now: now}
	a.shapes.Store(&map[shape]*shapeUse{})
	return a
}

// note counts the criteria of a request that was answered.
func (a *adviser) note(ctx context.Context, boundary string, criteria []*orisunpb.Criterion) {
	if len(criteria) == 0 {
		return
	}
	now := a.now()
	for _, criterion := range criteria {
		use := a.use(shape{boundary, shapeKeys(criterion.GetTags())})
		if use == nil {
			continue
		}
		if queried := use.queried.Load(); now.UnixNano()-queried >= int64(shapeRecheck) &&
			use.queried.CompareAndSwap(queried, now.UnixNano()) {
			if err := a.query(ctx, use); err != nil {
				use.queried.Store(0)
				a.log.Debug("whether an index serves a criterion is not known", "boundary", boundary, "keys", use.list(),
					"error", err)
			}
		}
		if use.unserved.Load() {
			use.ever.Add(1)
			if use.count.Add(1) == warnAfter {
				a.log.Warn("no index serves these criteria, so all events are read for them", "boundary", boundary,
					"keys", use.list(),
					"queries", warnAfter, "since", time.Unix(0, use.since.Load()).UTC(), "advice", "orisun index advise "+boundary)
			}
		}
	}
}

// isSlow returns whether the check of a save may be slow. One of its criteria is known to have no index, has a shape
// beyond maxShapes, or is slow in spite of an index: a typed or partial index serves some values only. Unlike note it
// counts nothing.
func (a *adviser) isSlow(ctx context.Context, boundary string, criteria []*orisunpb.Criterion) bool {
	now := a.now()
	for _, criterion := range criteria {
		keys := shapeKeys(criterion.GetTags())
		use := a.use(shape{boundary, keys})
		if use == nil && keys != "" {
			return true // beyond maxShapes, for example if each value is a key: no index serves it
		}
		if use == nil {
			continue
		}
		if queried := use.queried.Load(); now.UnixNano()-queried >= int64(shapeRecheck) &&
			use.queried.CompareAndSwap(queried, now.UnixNano()) {
			limited, cancel := context.WithTimeout(ctx, queryTimeout)
			err := a.query(limited, use)
			cancel()
			if err != nil {
				a.log.Debug("whether an index serves a save's context is not known", "boundary", boundary, "keys", use.list(),
					"error", err)
			}
		}
		if use.unserved.Load() || use.slow.Load() > now.UnixNano() {
			return true
		}
	}
	return false
}

// noteSlow marks the shapes of these criteria as slow for slowLasts.
func (a *adviser) noteSlow(boundary string, criteria []*orisunpb.Criterion) {
	until := a.now().Add(slowLasts).UnixNano()
	for _, criterion := range criteria {
		if use := a.use(shape{boundary, shapeKeys(criterion.GetTags())}); use != nil {
			use.slow.Store(until)
		}
	}
}

// query queries whether an index serves a shape.
func (a *adviser) query(ctx context.Context, use *shapeUse) error {
	served, err := a.isServed(ctx, use.boundary, use.list())
	switch {
	case err != nil:
		return err
	case served:
		use.unserved.Store(false)
		use.count.Store(0)
	case use.unserved.CompareAndSwap(false, true):
		use.since.Store(a.now().UnixNano())
	}
	return nil
}

// use returns the state of a shape; nil for one without keys, which needs no index, and for one beyond maxShapes.
func (a *adviser) use(s shape) *shapeUse {
	if use, found := (*a.shapes.Load())[s]; found || s.keys == "" {
		return use
	}
	a.adding.Lock()
	defer a.adding.Unlock()
	known := *a.shapes.Load()
	if use, found := known[s]; found || len(known) >= maxShapes {
		return use
	}
	more := maps.Clone(known)
	more[s] = &shapeUse{shape: s}
	a.shapes.Store(&more)
	return more[s]
}

// recheck makes the next use of each shape of a boundary query PostgreSQL again.
func (a *adviser) recheck(boundary string) {
	for _, use := range *a.shapes.Load() {
		if use.boundary == boundary {
			use.queried.Store(0)
		}
	}
}

// list is the advice for a boundary, the most frequent shape first. taken are the names of its indexes.
func (a *adviser) list(ctx context.Context, boundary string, taken map[string]bool) ([]*orisunpb.IndexAdvice, error) {
	type counted struct {
		*shapeUse
		count int64
	}
	var unserved []counted
	for _, use := range *a.shapes.Load() {
		if use.boundary == boundary && use.unserved.Load() {
			unserved = append(unserved, counted{use, use.count.Load()})
		}
	}
	slices.SortFunc(unserved, func(a, b counted) int {
		if a.count != b.count {
			return int(min(max(b.count-a.count, -1), 1))
		}
		return strings.Compare(a.keys, b.keys)
	})
	var advice []*orisunpb.IndexAdvice
	for _, use := range unserved[:min(len(unserved), maxAdvice)] {
		// An index may have been made since the last query.
		if err := a.query(ctx, use.shapeUse); err != nil {
			return nil, err
		}
		if use.unserved.Load() {
			advice = append(advice, &orisunpb.IndexAdvice{
				Keys: use.list(), Count: use.count, Since: timestamppb.New(time.Unix(0, use.since.Load())),
				Create: createFor(use.shape, taken),
			})
		}
	}
	return advice, nil
}

// unindexed counts the criteria of a boundary that no index serves.
type unindexed struct {
	shapes   int64 // shapes without an index at present
	criteria int64 // since the start of the node
}

// unindexed sums the shapes up by boundary.
func (a *adviser) unindexed() map[string]unindexed {
	sums := make(map[string]unindexed)
	for _, use := range *a.shapes.Load() {
		sum := sums[use.boundary]
		if use.unserved.Load() {
			sum.shapes++
		}
		sum.criteria += use.ever.Load()
		sums[use.boundary] = sum
	}
	return sums
}

// createFor is the request that makes an index for a shape. The order of fields does not matter, as all compare with =.
func createFor(s shape, taken map[string]bool) *orisunpb.CreateIndexRequest {
	keys := s.list()
	keys = keys[:min(len(keys), maxIndexFields)]
	request := &orisunpb.CreateIndexRequest{Boundary: s.boundary}
	for _, key := range keys {
		request.Fields = append(request.Fields, &orisunpb.IndexField{JsonKey: key})
	}
	const suffixBytes = 5
	most := maxIdentifierBytes - len(s.boundary) - len("__idx") - suffixBytes
	name := strings.Map(func(r rune) rune {
		if isIdentifier("_" + string(r)) {
			return r
		}
		return '_'
	}, strings.Join(keys, "_"))
	if !isIdentifier(name) {
		name = "_" + name // it begins with a digit
	}
	name = name[:min(len(name), most)]
	request.Name = name
	for i := 2; taken[request.GetName()]; i++ {
		request.Name = fmt.Sprintf("%s_%d", name, i)
	}
	taken[request.GetName()] = true
	return request
}

func (s shape) list() []string { return strings.Split(s.keys, "\x00") }

// shapeKeys are the keys of a shape. Most criteria have one tag, for which nothing is allocated.
func shapeKeys(tags []*orisunpb.Tag) string {
	switch len(tags) {
	case 0:
		return ""
	case 1:
		return typeKey(tags[0].GetKey())
	}
	keys := make([]string, len(tags))
	for i, tag := range tags {
		keys[i] = typeKey(tag.GetKey())
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), "\x00")
}
