package service

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
)

const (
	// maxConflictContexts is how many contexts a node counts, in all boundaries together. The context whose last
	// conflict is the earliest is dropped: a contested context stays.
	maxConflictContexts = 1000
	// maxConflictBytes bounds the criteria of a counted context. With a thousand of them, the counter has a few MB.
	maxConflictBytes = 4096
	// conflictMinutes is how long conflicts count.
	conflictMinutes = 60
)

// Conflicts counts the conflicts of the last hour by boundary and by context, of one node. Only a refused save costs a
// count. It is safe for concurrent use.
type Conflicts struct {
	now   func() time.Time
	since time.Time

	mu         sync.Mutex
	contexts   *lru.Cache[conflictContext, *contextCount]
	boundaries map[string]*minutes // of boundaries that exist: PostgreSQL decided on a save
}

// conflictContext is a boundary and the encoded criteria.
type conflictContext struct{ boundary, criteria string }

type contextCount struct {
	criteria []*orisunpb.Criterion
	last     time.Time
	minutes
}

// minutes are counts in a ring of minutes.
type minutes struct {
	counts [conflictMinutes]int64
	latest int64 // the minute since 1970 of the last count
}

// advance sets the counts of minutes without a conflict to 0, up to a minute.
func (m *minutes) advance(minute int64) {
	for at := max(m.latest+1, minute-conflictMinutes+1); at <= minute; at++ {
		m.counts[at%conflictMinutes] = 0
	}
	m.latest = max(m.latest, minute)
}

func (m *minutes) add(minute int64) {
	m.advance(minute)
	m.counts[m.latest%conflictMinutes]++
}

// list returns the counts up to a minute, the earliest first, and their sum.
func (m *minutes) list(minute int64) (counts []int64, total int64) {
	m.advance(minute)
	for i := range int64(conflictMinutes) {
		count := m.counts[(m.latest+1+i)%conflictMinutes]
		counts = append(counts, count)
		total += count
	}
	return counts, total
}

// NewConflicts returns a counter that begins now.
func NewConflicts(now func() time.Time) *Conflicts {
	contexts, err := lru.New[conflictContext, *contextCount](maxConflictContexts)
	if err != nil {
		panic(err) // only a size that is not positive is refused
	}
	return &Conflicts{now: now, since: now(), contexts: contexts, boundaries: make(map[string]*minutes)}
}

// note counts a conflict of a save with this context.
func (c *Conflicts) note(boundary string, criteria []*orisunpb.Criterion) {
	context, fits := encodeContext(boundary, criteria)
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	total, found := c.boundaries[boundary]
	if !found {
		total = &minutes{}
		c.boundaries[boundary] = total
	}
	total.add(minuteOf(now))
	if !fits {
		return
	}
	counted, found := c.contexts.Get(context)
	if !found {
		counted = &contextCount{}
		for _, criterion := range criteria {
			counted.criteria = append(counted.criteria, proto.CloneOf(criterion)) // the request's memory becomes free
		}
		c.contexts.Add(context, counted)
	}
	counted.last = now
	counted.add(minuteOf(now))
}

func minuteOf(now time.Time) int64 { return now.Unix() / 60 }

// encodeContext returns the key of a context; false if its criteria are too large to count. The order of tags and
// criteria does not matter.
func encodeContext(boundary string, criteria []*orisunpb.Criterion) (conflictContext, bool) {
	size := 0
	encoded := make([]string, len(criteria))
	for i, criterion := range criteria {
		tags := make([]string, len(criterion.GetTags()))
		for j, tag := range criterion.GetTags() {
			tags[j] = tag.GetKey() + "\x00" + tag.GetValue() // neither contains NUL
			size += len(tags[j])
		}
		if size > maxConflictBytes {
			return conflictContext{}, false
		}
		slices.Sort(tags)
		encoded[i] = strings.Join(tags, "\x00")
	}
	slices.Sort(encoded)
	return conflictContext{boundary, strings.Join(encoded, "\x00\x00")}, true
}

// list fills an answer with the most contested contexts of a boundary.
func (c *Conflicts) list(boundary string, count int, answer *orisunpb.ListConflictsResponse) {
	now := c.now()
	minute := minuteOf(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	answer.Since = timestamppb.New(now.Add(-conflictMinutes * time.Minute))
	if c.since.After(answer.GetSince().AsTime()) {
		answer.Since = timestamppb.New(c.since)
	}
	answer.Minutes = make([]int64, conflictMinutes)
	if total, found := c.boundaries[boundary]; found {
		answer.Minutes, answer.Total = total.list(minute)
	}
	for _, context := range c.contexts.Keys() {
		if context.boundary != boundary {
			continue
		}
		counted, _ := c.contexts.Peek(context)
		if perMinute, sum := counted.list(minute); sum > 0 {
			answer.Contexts = append(answer.Contexts, &orisunpb.ContextConflicts{
				Criteria: counted.criteria, Count: sum, Last: timestamppb.New(counted.last), Minutes: perMinute,
			})
		}
	}
	mostContested(answer, count)
}

// mostContested sorts the contexts of an answer, those with most conflicts first, and cuts the rest.
func mostContested(answer *orisunpb.ListConflictsResponse, count int) {
	slices.SortStableFunc(answer.Contexts, func(a, b *orisunpb.ContextConflicts) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), b.GetLast().AsTime().Compare(a.GetLast().AsTime()))
	})
	answer.Contexts = answer.GetContexts()[:min(len(answer.GetContexts()), count)]
}

// addConflicts adds the counts of another node to an answer. Contexts are the same where their criteria are, in any
// order.
func addConflicts(answer, other *orisunpb.ListConflictsResponse) {
	answer.Nodes = append(answer.Nodes, other.GetNodes()...)
	answer.Total += other.GetTotal()
	addMinutes(answer.Minutes, other.GetMinutes())
	if other.GetSince().AsTime().After(answer.GetSince().AsTime()) {
		answer.Since = other.GetSince()
	}
	known := make(map[conflictContext]*orisunpb.ContextConflicts, len(answer.GetContexts()))
	for _, context := range answer.GetContexts() {
		key, _ := encodeContext("", context.GetCriteria())
		known[key] = context
	}
	for _, context := range other.GetContexts() {
		key, _ := encodeContext("", context.GetCriteria())
		same := known[key]
		if same == nil {
			answer.Contexts = append(answer.Contexts, context)
			continue
		}
		same.Count += context.GetCount()
		addMinutes(same.Minutes, context.GetMinutes())
		if context.GetLast().AsTime().After(same.GetLast().AsTime()) {
			same.Last = context.GetLast()
		}
	}
}

func addMinutes(sum, more []int64) {
	for i := range min(len(sum), len(more)) {
		sum[i] += more[i]
	}
}

// Forget drops the counts of a boundary that any node deleted.
func (c *Conflicts) Forget(boundary string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.boundaries, boundary)
	for _, context := range c.contexts.Keys() {
		if context.boundary == boundary {
			c.contexts.Remove(context)
		}
	}
}
