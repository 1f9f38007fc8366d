package server

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

var (
	subscriptionRounds = flag.Int("subscriptions.rounds", 3, "how often the test of everything at once is repeated")
	subscriptionSeed   = flag.Uint64("subscriptions.seed", 0, "the seed of its first round; 0 is a random one")
)

// TestEverySubscriptionGetsEveryEventOnceInOrderWhateverHappens opens ten subscriptions at different moments while
// eight writers write, and the publisher is restarted and the stream purged and deleted under them.
func TestEverySubscriptionGetsEveryEventOnceInOrderWhateverHappens(t *testing.T) {
	seed := *subscriptionSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	for i := range *subscriptionRounds {
		t.Run(fmt.Sprintf("seed %d", seed+uint64(i)), func(t *testing.T) {
			subscriptionRound(t, rand.New(rand.NewPCG(seed+uint64(i), 0)))
		})
	}
}

func subscriptionRound(t *testing.T, random *rand.Rand) {
	t.Helper()
	const writers, saves, subscriptions = 8, 60, 10
	n := newNode(t, pgtest.Clone(t))
	var writing, disturbing sync.WaitGroup
	written, stopDisturbing := context.WithCancel(t.Context())
	for w := range writers {
		client, pauses := n.client(), rand.New(rand.NewPCG(random.Uint64(), 0))
		writing.Go(func() {
			for i := range saves {
				eventtest.Save(t, client, strconv.Itoa(w), i*3, 1+pauses.IntN(3))
				pausing(pauses, 20*time.Millisecond)
			}
		})
	}
	disturbances := rand.New(rand.NewPCG(random.Uint64(), 0))
	disturbing.Go(func() {
		for written.Err() == nil {
			[]func(){n.purge, n.deleteStream, n.restartPublisher, n.stopPublisher}[disturbances.IntN(4)]()
			pausing(disturbances, 200*time.Millisecond)
		}
		n.restartPublisher()
	})

	queries := []*orisunpb.Query{
		nil,
		{},
		eventtest.Where("writer", "3"), eventtest.Where("odd", "true", "event_type", "Written"),
		{Criteria: append(eventtest.Where("writer", "5").Criteria,
			eventtest.Where("odd", "false", "writer", "1", "note", "line\nbreak").Criteria...)},
	}
	var opened []*eventtest.Subscription
	for i := range subscriptions {
		opened = append(opened, eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
			AfterPosition: eventtest.Beginning, Query: queries[i%len(queries)],
		}))
		pausing(random, 60*time.Millisecond)
	}
	before := eventtest.Stored(t, n.client(), nil)
	now := eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{})
	after := eventtest.Stored(t, n.client(), nil)

	writing.Wait()
	stopDisturbing()
	disturbing.Wait()
	client := n.client()
	for i, s := range opened {
		s.Wants(eventtest.Stored(t, client, queries[i%len(queries)]))
	}
	// From now on is from somewhere between the call and the header.
	all := eventtest.Stored(t, client, nil)
	got := now.Reaches(all[len(all)-1].GetEventId())
	first := int(got[0].GetPosition().GetGlobalId())
	if first < len(before) || first > len(after) {
		t.Errorf("from now on begins with event %d: %d were there before the call, %d after its header",
			first, len(before), len(after))
	}
	eventtest.Same(t, got, all[first:])
}

// pausing waits for a random time up to most: what is tested is that no moment matters.
func pausing(random *rand.Rand, most time.Duration) {
	<-time.After(time.Duration(random.Int64N(int64(most))))
}
