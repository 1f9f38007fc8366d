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

// maxRetries is how many refused saves are known: as many as may wait for one boundary. Those that were not retried for longest are forgotten.
const maxRetries = groupcommit.DefaultMaxQueue

// retryPriority gives retried saves priority over new ones in a contested context. Of the saves of a flush that want the same context one at most
// succeeds, and it is the first of them. So the save that was refused first goes first, and every client that reads and retries succeeds in the end. A
// save is known by the id of its first event, which its client keeps. Each node knows the saves that it refused.
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

// any returns whether there are refused saves: where there are none, a flush costs nothing.
func (p *retryPriority) any() bool { return p.refused.Len() > 0 }

// sort returns the batch with retried saves in front, and the place of each in the batch.
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

// note adds a save whose context had changed, and forgets any other.
func (p *retryPriority) note(in *orisunpb.SaveEventsRequest, outcome string) {
	if outcome == outcomeContextChanged {
		p.refused.ContainsOrAdd(retryOf(in), p.last.Add(1))
	} else if p.any() {
		p.refused.Remove(retryOf(in))
	}
}
