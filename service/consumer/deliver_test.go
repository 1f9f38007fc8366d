package consumer

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	orisunpb "github.com/oexza/orisun/proto"
)

// holder is a consumer that holds partition 0 and has no stream.
func holder(t *testing.T, config Config) (*Member, *partition) {
	t.Helper()
	if config.Log == nil {
		config.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	n := NewNode(config)
	until := time.Now().Add(time.Hour)
	n.aliveUntil.Store(&until)
	p := newPartition(0, 0, false, false, Position{-1, -1}, nil, nil)
	return &Member{
		node: n, Client: Client{Window: 1000}, partitions: map[int32]*partition{0: p},
		def:  Definition{Boundary: "orders", Name: "mails", Partitions: 1, AckTimeout: time.Minute, MaxRefusals: 1},
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), released: make(map[int32]int64),
	}, p
}

func TestAResponseIsNotLargerThanTheLimit(t *testing.T) {
	for name, test := range map[string]struct{ limit, size, events int }{
		"events of 50 kB":     {256 << 10, 50_000, 20},
		"small events":        {1024, 10, 200},
		"an event that fits":  {1 << 20, 1<<20 - 100, 2},
		"many in the default": {64 << 20, 3000, 200},
	} {
		t.Run(name, func(t *testing.T) {
			m, p := holder(t, Config{MaxResponseBytes: test.limit})
			for id := range int64(test.events) {
				p.add(&orisunpb.Event{Data: strings.Repeat("x", test.size), Position: &orisunpb.Position{GlobalId: id}}, "")
			}
			next := int64(0)
			for next < int64(test.events) {
				frame, err := m.collect(time.Now())
				if err != nil || frame == nil {
					t.Fatalf("after %d events: %v, %v", next, frame, err)
				}
				deliveries := frame.GetDeliveries().GetDeliveries()
				size := proto.Size(frame)
				if size > test.limit || len(deliveries) > 1 && size > maxFrameBytes {
					t.Errorf("%d events are a response of %d bytes", len(deliveries), size)
				}
				for _, d := range deliveries {
					if d.GetEvent().GetPosition().GetGlobalId() != next {
						t.Fatalf("%d comes, want %d", d.GetEvent().GetPosition().GetGlobalId(), next)
					}
					next++
				}
			}
		})
	}
}

// TestEventsThatArriveWaitForOthers sends one event, and looks at what comes within gatherTime: it waits until the
// window is full or the time is over. What a settlement or a redelivery makes ready does not wait.
func TestEventsThatArriveWaitForOthers(t *testing.T) {
	const window = 10
	m, p := holder(t, Config{MaxResponseBytes: 1 << 20})
	m.Client.Window = window
	id := int64(-1)
	arrive := func() {
		id++
		p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: id}}, "")
		m.arrived()
	}
	woken := func() bool {
		select {
		case <-m.wake:
			return true
		default:
			return false
		}
	}
	if arrive(); !woken() || m.gathering(time.Now()) != 0 {
		t.Fatal("the first event waits")
	}
	if _, err := m.collect(time.Now()); err != nil {
		t.Fatal(err)
	}
	sent := m.sentAt
	waits := func(after, want time.Duration) {
		t.Helper()
		if got := m.gathering(sent.Add(after)); got != want {
			t.Errorf("%d events wait for %s, want %s", len(p.ready), got, want)
		}
	}
	waits(gatherTime/2, gatherTime/2)
	for len(p.ready) < window-2 { // one is in the window already
		if arrive(); woken() {
			t.Errorf("%d events wake Run", len(p.ready))
		}
	}
	waits(gatherTime/2, gatherTime/2)
	waits(gatherTime, 0)
	p.atOnce = true
	waits(gatherTime/2, 0)
	p.atOnce = false
	waits(gatherTime/2, gatherTime/2)
	if arrive(); !woken() {
		t.Error("a full window does not wake Run")
	}
	waits(gatherTime/2, 0)
}

// TestWhatAnAcknowledgementMakesReadyIsSentAtOnce has two events of a key, and a window for one.
func TestWhatAnAcknowledgementMakesReadyIsSentAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		keyed  bool
		window int
	}{"the next of its key": {true, 100}, "the next in the window": {false, 1}} {
		t.Run(name, func(t *testing.T) {
			m, p := holder(t, Config{MaxResponseBytes: 1 << 20})
			m.Client.Window, p.keyed, m.moved = test.window, test.keyed, true
			for id := range int64(2) {
				p.add(&orisunpb.Event{Position: &orisunpb.Position{GlobalId: id}}, "")
			}
			for id := range int64(2) {
				if left := m.gathering(time.Now()); left != 0 {
					t.Fatalf("event %d waits for %s", id, left)
				}
				frame, err := m.collect(time.Now())
				if got := frame.GetDeliveries().GetDeliveries(); err != nil || len(got) != 1 {
					t.Fatalf("%v, %v, want event %d", got, err, id)
				}
				m.gathering(time.Now())
				done := []*orisunpb.Acknowledgement{{Positions: []*orisunpb.Position{{GlobalId: id}}}}
				if _, err := m.Settle(done, nil, nil); err != nil {
					t.Fatal(err)
				}
				if id == 0 {
					select {
					case <-m.wake:
					default:
						t.Error("the acknowledgement does not wake Run")
					}
				}
			}
		})
	}
}

// TestEventsBeyondAResponseOrMemoryDoNotWait has large events come within gatherTime: those that a response had no room
// for are sent at once, and so is what fills the memory, since nothing more arrives.
func TestEventsBeyondAResponseOrMemoryDoNotWait(t *testing.T) {
	const size = 150_000
	m, p := holder(t, Config{MaxResponseBytes: 64 << 20})
	id := int64(-1)
	arrive := func() {
		id++
		if err := m.take(t.Context(), &orisunpb.Event{
			Data: strings.Repeat("x", size), Position: &orisunpb.Position{GlobalId: id},
		}); err != nil {
			t.Fatal(err)
		}
	}
	send := func() {
		t.Helper()
		if frame, err := m.collect(time.Now()); err != nil || len(frame.GetDeliveries().GetDeliveries()) != 1 {
			t.Fatalf("%v, %v, want one event", frame, err)
		}
	}
	arrive()
	send()
	within := func() time.Time { return m.sentAt.Add(gatherTime / 2) }
	for range 3 {
		arrive()
	}
	if left := m.gathering(within()); left == 0 {
		t.Error("events that arrived do not wait")
	}
	for send(); len(p.ready) > 0; send() {
		if left := m.gathering(within()); left != 0 {
			t.Errorf("%d events that the response had no room for wait for %s", len(p.ready), left)
		}
	}
	<-m.wake
	for !m.full() {
		if left := m.gathering(within()); left == 0 || len(m.wake) > 0 {
			t.Fatalf("%d events in %d bytes wait for %s and wake Run %d times", len(p.ready), m.bytes, left, len(m.wake))
		}
		arrive()
	}
	if left := m.gathering(within()); left != 0 || len(m.wake) == 0 {
		t.Errorf("memory is full, and Run is woken %d times and waits for %s", len(m.wake), left)
	}
}
