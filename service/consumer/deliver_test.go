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
