package publisher_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/migrations/pgtest"
	"github.com/oexza/orisun/publisher"
)

func TestWhatIsCommittedIsPublishedOnceInOrder(t *testing.T) {
	w := newWorld(t)
	w.save(ids("before", 350)...)
	n := w.startNode()
	w.isPublished(0)
	w.save(ids("after", 350)...)
	n.Hint(boundary)
	w.isPublished(0)

	n.stop()
	if at := w.checkpoint(); at != 699 {
		t.Errorf("it stopped at checkpoint %d, want 699", at)
	}
	if state := w.stream().CachedInfo().State; state.FirstSeq != 1 || state.LastSeq != 700 {
		t.Errorf("sequences %d to %d, want those of the events plus one", state.FirstSeq, state.LastSeq)
	}
}

func TestRowsInsertedByHandAreFound(t *testing.T) {
	w := newWorld(t)
	w.startNode()
	w.save("a")
	w.execute(`INSERT INTO orders_orisun_es_event (event_id, event_type, data) VALUES ('by-hand', 'T', '{"n": 1}')`)
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(),
		`INSERT INTO orders_orisun_es_event (event_id, event_type, data) VALUES ('rolled-back', 'T', '{}')`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.execute(`INSERT INTO orders_orisun_es_event (event_id, event_type, data) VALUES ('after-a-gap', 'T', '{}')`)
	w.isPublished(0)
}

// By the checkpoint others know how far the outbox is: one that comes with the next poll reports a second that the
// outbox was not behind.
func TestTheCheckpointFollowsTheStreamWithoutAPoll(t *testing.T) {
	w := newWorld(t)
	n := w.startNode()
	var last int64 = -1
	round := func() time.Duration {
		begin := time.Now()
		for range 2 { // when the second one is published, a checkpoint was but just noted
			last++
			w.save(fmt.Sprint(last))
			n.Hint(boundary)
			w.reaches(last)
		}
		eventually(t, "the checkpoint", func() (bool, error) { return w.checkpoint() == last, nil })
		return time.Since(begin)
	}
	round() // polls come each second: one that had to wait for it leaves the next a whole one
	fastest := time.Hour
	for range 4 {
		fastest = min(fastest, round())
	}
	if fastest > 700*time.Millisecond {
		t.Errorf("the fastest of four checkpoints took %v", fastest)
	}
}

// Without hints an event waits half a second on average for a poll: twenty in a row take ten.
func TestAHintPublishesAtOnce(t *testing.T) {
	for _, who := range []string{"the leader", "a standby"} {
		t.Run("to "+who, func(t *testing.T) {
			w := newWorld(t)
			n := w.startNode()
			w.save("first")
			w.reaches(0)
			if who == "a standby" {
				n = w.startNode()
			}
			start := time.Now()
			for i := range 20 {
				w.save(fmt.Sprint(i))
				n.Hint(boundary)
				w.reaches(int64(i + 1))
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("20 events took %v", took)
			}
		})
	}
}

func TestAnEventTooLargeToPublishHoldsItsPlaceAsAStub(t *testing.T) {
	w := newWorld(t)
	w.startNode()
	insert := func(id string, data int, metadata string) {
		w.execute(`INSERT INTO orders_orisun_es_event (event_id, event_type, data, metadata)
			VALUES ($1, 'T', jsonb_build_object('x', repeat('x', $2)), jsonb_build_object('x', $3::text))`, id, data, metadata)
	}
	// fill is how many bytes of data make an event the largest that surely fits.
	fill := func(id, metadata string) int {
		const frame = len(`{"x": ""}`)
		return maxPayload - publisher.MessageSize(boundary, "/orisun/"+boundary, id, "T", frame, frame+len(metadata))
	}
	worst := strings.Repeat("ä", 5000) // each byte of it takes three
	w.save("a")
	insert("fits", fill("fits", ""), "")
	insert("fits-too", fill("fits-too", worst), worst)
	insert("payload", maxPayload, "")
	insert("header", 0, strings.Repeat("ä", 15_000))
	insert("huge", 40<<20, "")
	w.save("b")
	w.isPublished(0)
	var stubs []string
	for _, m := range w.messages() {
		if m.event.GetData() == "" {
			stubs = append(stubs, m.event.GetEventId())
		}
	}
	if got := strings.Join(stubs, " "); got != "payload header huge" {
		t.Errorf("stubs: %s", got)
	}
}

func TestANewOwnerGoesOnWhereTheStreamEnds(t *testing.T) {
	const events = 50
	for name, disturb := range map[string]func(w *world){
		"checkpoint behind the stream":       func(w *world) { w.moveCheckpoint(20) },
		"checkpoint ahead of stream and log": func(w *world) { w.moveCheckpoint(1000) },
		"no checkpoint": func(w *world) {
			w.execute("DELETE FROM orders_orisun_last_published_event_position")
		},
		"the stream lost its latest messages": func(w *world) {
			stream := w.stream()
			for seq := uint64(events - 9); seq <= events; seq++ {
				if err := stream.DeleteMsg(w.t.Context(), seq); err != nil {
					w.t.Fatal(err)
				}
			}
		},
		"another configuration": func(w *world) {
			w.changeStream(func(config *jetstream.StreamConfig) {
				config.MaxMsgs, config.Subjects = 1000, append(config.Subjects, "foreign")
			})
		},
		"none of its subjects": func(w *world) {
			w.changeStream(func(config *jetstream.StreamConfig) { config.Subjects = []string{"foreign"} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.startNode()
			w.save(ids("a", events)...)
			w.reaches(events - 1)
			n.stop()
			disturb(w)
			w.save(ids("b", 20)...)
			n = w.startNode()
			w.isPublished(0)
			n.stop()
			if at := w.checkpoint(); at != events+19 {
				t.Errorf("checkpoint %d, want %d", at, events+19)
			}
			if config := w.stream().CachedInfo().Config; config.MaxMsgs != -1 || len(config.Subjects) != 1 {
				t.Errorf("the stream's configuration is %+v", config)
			}
		})
	}
}

func (w *world) changeStream(change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	js, err := jetstream.New(connect(w.t, w.nats))
	if err != nil {
		w.t.Fatal(err)
	}
	config := w.stream().CachedInfo().Config
	change(&config)
	if _, err := js.UpdateStream(w.t.Context(), config); err != nil {
		w.t.Fatal(err)
	}
}

func TestWithoutItsFilesTheStreamGoesOnAfterTheCheckpoint(t *testing.T) {
	for checkpoint, from := range map[int64]int64{49: 50, 30: 31, -1: 0, 1000: 0} {
		t.Run(fmt.Sprint("checkpoint ", checkpoint), func(t *testing.T) {
			w := newWorld(t)
			n := w.startNode()
			w.save(ids("a", 50)...)
			w.reaches(49)
			n.stop()
			stopNATS(t, w.nats)
			if err := os.RemoveAll(w.dir); err != nil {
				t.Fatal(err)
			}
			w.moveCheckpoint(checkpoint)
			w.nats = startNATS(t, w.dir)
			w.startNode()
			w.save(ids("b", 20)...)
			w.isPublished(from)

			// Its sequences go on as if nothing had been: what an earlier life still had under way fits nowhere else.
			if state := w.stream().CachedInfo().State; state.LastSeq != 70 {
				t.Errorf("the last sequence is %d, want 70", state.LastSeq)
			}
		})
	}
}

func TestAStreamThatIsNoCopyOfTheLogIsRecreated(t *testing.T) {
	restore := func(w *world) { // a backup in which the log ended at event 29 and the checkpoint at 24
		w.execute("DELETE FROM orders_orisun_es_event WHERE global_id >= 30")
		w.moveCheckpoint(24)
	}
	for name, disturb := range map[string]func(w *world){
		"PostgreSQL restored from an older backup": func(w *world) {
			restore(w)
			w.save(ids("other", 5)...)
		},
		"and grown beyond the stream since": func(w *world) {
			restore(w)
			w.save(ids("other", 100)...)
		},
		"and the same saves repeated": func(w *world) {
			restore(w)
			w.save(ids("a", 50)...)
			w.save("b")
		},
		"a foreign message at the end": func(w *world) {
			w.moveCheckpoint(24)
			if err := connect(w.t, w.nats).Publish(publisher.Subject(boundary, "Foreign"), []byte("{}")); err != nil {
				w.t.Fatal(err)
			}
			w.save("b")
		},
		"a stream of another store with the same events": func(w *world) {
			w.storeID = "copy"
			w.moveCheckpoint(24)
			w.save("b")
		},
		"another storage": func(w *world) {
			js, err := jetstream.New(connect(w.t, w.nats))
			if err != nil {
				w.t.Fatal(err)
			}
			config := w.stream().CachedInfo().Config
			config.Storage = jetstream.MemoryStorage
			if err := errors.Join(js.DeleteStream(w.t.Context(), config.Name)); err != nil {
				w.t.Fatal(err)
			}
			if _, err := js.CreateStream(w.t.Context(), config); err != nil {
				w.t.Fatal(err)
			}
			w.moveCheckpoint(24)
			w.save("b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			n := w.startNode()
			w.save(ids("a", 50)...)
			w.reaches(49)
			n.stop()
			disturb(w)
			w.startNode()
			w.isPublished(25)
		})
	}
}

func TestTroubleWithJetStreamIsReportedAndPasses(t *testing.T) {
	w := newWorld(t)
	js, err := jetstream.New(connect(t, w.nats))
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "squatter", Subjects: []string{"orisun.>"}})
	if err != nil {
		t.Fatal(err)
	}
	n := w.startNode()
	w.save("a", "b")
	eventually(t, "the trouble shows", func() (bool, error) {
		status, err := n.Status(boundary)
		return status.Leads && status.Trouble != nil, err
	})
	if lag, err := n.Lag(t.Context(), boundary); err != nil || lag != 2 {
		t.Errorf("lag %d, %v, want 2", lag, err)
	}
	if err := js.DeleteStream(t.Context(), "squatter"); err != nil {
		t.Fatal(err)
	}
	w.isPublished(0)
	eventually(t, "the trouble is over", func() (bool, error) {
		status, err := n.Status(boundary)
		return status.Trouble == nil && status.Published.GetGlobalId() == 1, err
	})
	eventually(t, "the lag is gone", func() (bool, error) {
		lag, err := n.Lag(t.Context(), boundary)
		return lag == 0, err
	})
	n.stop()
	if status, err := n.Status(boundary); err != nil || status.Leads {
		t.Errorf("after its end: %+v, %v", status, err)
	}
	if _, err := n.Status("nowhere"); !errors.Is(err, publisher.ErrUnknownBoundary) {
		t.Errorf("an unknown boundary: %v", err)
	}
}

func TestWithoutPostgreSQLThePublisherSaysSoAndWaits(t *testing.T) {
	w := newWorld(t)
	conn, err := w.nats.Connect("publisher")
	if err != nil {
		t.Fatal(err)
	}
	leases := publisher.NewLeases(w.pool.Config().ConnConfig, logTo(t))
	p := publisher.New(publisher.Config{
		Leases: leases, Database: w.pool, NATS: conn, StoreID: "test", BatchSize: 10, Logger: logTo(t),
	})
	t.Cleanup(inBackground(t, p.Run))
	eventually(t, "the trouble shows", func() (bool, error) {
		status, err := p.Status(boundary)
		return !status.Leads && errors.Is(status.Trouble, publisher.ErrLost), err
	})
	w.save("a")
	t.Cleanup(inBackground(t, leases.Run))
	w.isPublished(0)
	if status, err := p.Status(boundary); err != nil || !status.Leads || status.Trouble != nil {
		t.Errorf("afterwards: %+v, %v", status, err)
	}
}

func TestABoundaryMadeAtRunTimeIsPublished(t *testing.T) {
	w := newWorld(t)
	n := w.startNode()
	w.save("a")
	w.reaches(0)
	pgtest.Boundary(t, w.pool, "invoices")
	n.Add("invoices")
	n.Add("invoices")
	w.execute(`INSERT INTO invoices_orisun_es_event (event_id, event_type, data) VALUES ('1', 'T', '{}')`)
	eventually(t, "the new boundary is published", func() (bool, error) {
		status, err := n.Status("invoices")
		return status.Published.GetTransactionId() == 1, err
	})
}

func TestTheOldestMessagesGoWhenAStreamIsFull(t *testing.T) {
	w := newWorld(t)
	w.limits = publisher.StreamLimits{MaxMessages: 10, MaxAge: time.Hour, MaxBytes: 1 << 20}
	w.startNode()
	w.save(ids("a", 25)...)
	w.isPublished(15)
}
