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

// maxLosers is how many losers are remembered: as many saves as may wait for one boundary. Those that have not come again for longest are forgotten.
const maxLosers = groupcommit.DefaultMaxQueue

// losers are saves whose context had changed and who have not come again with success. Of the saves of a flush that want the same context one at most can win, and it is the
// first of them: so whoever lost goes before who did not, and who lost earlier before who lost later, and nobody who reads and tries again loses for ever. A save is known
// by the id of its first event, which its client keeps from attempt to attempt. Each node knows those that lost on it.
type losers struct {
	known *lru.Cache[loser, uint64] // the number of its first loss
	last  atomic.Uint64
}

type loser struct{ boundary, eventID string }

func newLosers() *losers {
	known, err := lru.New[loser, uint64](maxLosers)
	if err != nil {
		panic(err) // only a size that is not positive is refused
	}
	return &losers{known: known}
}

func loserOf(in *orisunpb.SaveEventsRequest) loser {
	return loser{in.GetBoundary(), in.GetEvents()[0].GetEventId()}
}

// any tells if there are any: where nobody loses, looking costs nothing.
func (l *losers) any() bool { return l.known.Len() > 0 }

// first answers the batch with those that lost before in front, and where each stood.
func (l *losers) first(batch []*orisunpb.SaveEventsRequest) (sorted []*orisunpb.SaveEventsRequest, stood []int) {
	type turn struct {
		lost  uint64
		stood int
	}
	turns := make([]turn, len(batch))
	for i, in := range batch {
		turns[i] = turn{math.MaxUint64, i}
		if lost, found := l.known.Get(loserOf(in)); found {
			turns[i].lost = lost
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(a.lost, b.lost) })
	for _, t := range turns {
		sorted, stood = append(sorted, batch[t.stood]), append(stood, t.stood)
	}
	return sorted, stood
}

// note remembers who lost, and forgets who did not.
func (l *losers) note(in *orisunpb.SaveEventsRequest, outcome string) {
	if outcome == outcomeContextChanged {
		l.known.ContainsOrAdd(loserOf(in), l.last.Add(1))
	} else if l.any() {
		l.known.Remove(loserOf(in))
	}
}
