package service

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/service/groupcommit"
)

// maxRetries is how many refused saves are stored: as many as may wait for one boundary. The least recently retried
// ones are dropped.
const maxRetries = groupcommit.DefaultMaxQueue

// retryPriority gives retried saves priority over new ones in a contested context. Of the saves of a flush with the
// same context, at most one succeeds: the first of them. Saves that were refused earlier are tried first, so every
// client that reads and retries succeeds in the end. A save is identified by the id of its first event, which is the
// same in a retry. Each node has only the saves that it refused itself.
type retryPriority struct {
	refused *lru.Cache[retry, uint64] // the number of its first refusal
	last    atomic.Uint64
}

type retry struct{ boundary, eventID string }

func newRetryPriority() *retryPriority {
	refused, err := lru.New[retry, uint64](maxRetries)
	if err != nil {
		panic(err) // only a size that is not positive is refused
	}
	return &retryPriority{refused: refused}
}

func retryOf(in *orisunpb.SaveEventsRequest) retry {
	return retry{in.GetBoundary(), in.GetEvents()[0].GetEventId()}
}

// any returns whether there are refused saves: without them, sorting is skipped.
func (p *retryPriority) any() bool { return p.refused.Len() > 0 }

// sort returns the batch with retried saves first, and the index of each in the batch.
func (p *retryPriority) sort(batch []*orisunpb.SaveEventsRequest) (sorted []*orisunpb.SaveEventsRequest, places []int) {
	type ranked struct {
		refusal uint64
		place   int
	}
	order := make([]ranked, len(batch))
	for i, in := range batch {
		order[i] = ranked{math.MaxUint64, i}
		if refusal, found := p.refused.Get(retryOf(in)); found {
			order[i].refusal = refusal
		}
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return cmp.Compare(a.refusal, b.refusal) })
	for _, r := range order {
		sorted, places = append(sorted, batch[r.place]), append(places, r.place)
	}
	return sorted, places
}

// note stores a save whose context had changed, and drops a save with any other outcome.
func (p *retryPriority) note(in *orisunpb.SaveEventsRequest, outcome string) {
	if outcome == outcomeContextChanged {
		p.refused.ContainsOrAdd(retryOf(in), p.last.Add(1))
	} else if p.any() {
		p.refused.Remove(retryOf(in))
	}
}
