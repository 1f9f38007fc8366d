package publisher_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/publisher"
)

// newRandom returns a source of chance whose seed is printed; PUBLISHER_SEED repeats a run.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("PUBLISHER_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("PUBLISHER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// storm is eight writers and a number of publishers that compete, while something happens to them.
type storm struct {
	*world
	random *rand.Rand
	nodes  []atomic.Pointer[node]
	saved  atomic.Int64
	stop   func()
}

func newStorm(w *world, random *rand.Rand, nodes int) *storm {
	s := &storm{world: w, random: random, nodes: make([]atomic.Pointer[node], nodes)}
	for i := range s.nodes {
		s.nodes[i].Store(w.startNode())
	}
	var enough atomic.Bool
	var writers sync.WaitGroup
	for writer := range 8 {
		sizes := rand.New(rand.NewPCG(random.Uint64(), 0))
		writers.Go(func() {
			for batch := 0; !enough.Load(); batch++ {
				n := 1 + sizes.IntN(5)
				if err := save(w.t.Context(), w.pool, ids(fmt.Sprintf("%d-%d", writer, batch), n)...); err != nil {
					w.t.Error(err)
					return
				}
				s.saved.Add(int64(n))
				s.nodes[sizes.IntN(nodes)].Load().Hint(boundary)
			}
		})
	}
	s.stop = func() {
		enough.Store(true)
		writers.Wait()
	}
	return s
}

// rage lets things happen, each after some more events were saved.
func (s *storm) rage(times int, disturbances map[string]func()) {
	s.t.Helper()
	names := make([]string, 0, len(disturbances))
	for name := range disturbances {
		names = append(names, name)
	}
	slices.Sort(names)
	for range times {
		until := s.saved.Load() + s.random.Int64N(300)
		eventually(s.t, "more events are saved", func() (bool, error) { return s.saved.Load() >= until, nil })
		name := names[s.random.IntN(len(names))]
		s.t.Logf("after %d events: %s", s.saved.Load(), name)
		disturbances[name]()
	}
	s.stop()
}

// restart ends a publisher at this very moment, and starts another one.
func (s *storm) restart() {
	n := &s.nodes[s.random.IntN(len(s.nodes))]
	n.Load().stop()
	n.Store(s.startNode())
}

// cut ends the connection of the publishing node.
func (s *storm) cut() {
	s.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' " +
		"AND classid = orisun.lease_class()::oid AND granted")
}

// reconnect loses the acknowledgements that are under way.
func (s *storm) reconnect() {
	if err := s.nodes[s.random.IntN(len(s.nodes))].Load().nats.ForceReconnect(); err != nil {
		s.t.Fatal(err)
	}
}

func TestEveryEventStandsInTheStreamOnceWhateverHappensToPublishers(t *testing.T) {
	leaks(t)
	s := newStorm(newWorld(t), newRandom(t), 3)
	s.rage(25, map[string]func(){"restart": s.restart, "cut": s.cut, "reconnect": s.reconnect})
	s.isPublished(0)
}

func TestEveryEventStandsInTheStreamOnceWhateverHappensToTheStream(t *testing.T) {
	leaks(t)
	s := newStorm(newWorld(t), newRandom(t), 2)
	js, err := jetstream.New(connect(t, s.nats))
	if err != nil {
		t.Fatal(err)
	}
	ignoring := func(err error) {
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) { // a publisher is just making it
			t.Fatal(err)
		}
	}
	s.rage(40, map[string]func(){
		"restart": s.restart, "cut": s.cut, "reconnect": s.reconnect,
		"purge": func() {
			stream, err := js.Stream(t.Context(), publisher.StreamName(boundary))
			if err == nil {
				err = stream.Purge(t.Context())
			}
			ignoring(err)
		},
		"delete": func() { ignoring(js.DeleteStream(t.Context(), publisher.StreamName(boundary))) },
		"foreign message": func() {
			if err := s.nodes[0].Load().nats.Publish(publisher.Subject(boundary, "Foreign"), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		},
		"restart of NATS": func() {
			for i := range s.nodes {
				s.nodes[i].Load().stop()
			}
			stopNATS(t, s.nats)
			s.nats = startNATS(t, s.dir)
			for i := range s.nodes {
				s.nodes[i].Store(s.startNode())
			}
			if js, err = jetstream.New(connect(t, s.nats)); err != nil {
				t.Fatal(err)
			}
		},
	})
	s.save("the last one")
	s.isPublished(-1)
}

// leaks fails a test that leaves goroutines behind, after all its cleanups.
func leaks(t *testing.T) {
	t.Helper()
	pgtest.Clone(t) // PostgreSQL outlives the test
	before := goleak.IgnoreCurrent()
	// A NATS server that is shut down while a stream is being made forgets the goroutines of that stream's files.
	files := goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop")
	clock := goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1")
	t.Cleanup(func() { goleak.VerifyNone(t, before, files, clock) })
}
