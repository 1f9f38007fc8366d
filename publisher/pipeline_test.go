package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	orisunpb "github.com/oexza/orisun/proto"
	embedded "github.com/oexza/orisun/server/jetstream"
)

// startJetStream is a NATS server for the test, and a connection on which what is published gets between messages
// without fail.
func startJetStream(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Config{
		ServerName: "test", Host: "127.0.0.1", MaxPayload: 1 << 20, StoreDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	conn, err := server.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// sendEvents sends those of so many global_ids from one on, as a page.
func sendEvents(t *testing.T, l *pipeline, from, count int64) {
	t.Helper()
	for i := from; i < from+count; i++ {
		sendEvent(t, l, i, i == from+count-1)
	}
}

func sendEvent(t *testing.T, l *pipeline, globalID int64, ask bool) {
	t.Helper()
	err := l.send(&orisunpb.Event{
		EventId: fmt.Sprint(globalID), EventType: "T", Data: "{}", Metadata: "{}",
		Position:    &orisunpb.Position{TransactionId: globalID + 1, GlobalId: globalID},
		DateCreated: timestamppb.New(time.Now()),
	}, ask)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAMessageThatGotInBetweenStopsThePipeline(t *testing.T) {
	conn, js := startJetStream(t)
	for _, c := range []struct {
		place  int64
		copied bool
	}{{place: 0}, {place: 1}, {place: 2}, {place: 100}, {place: 2, copied: true}, {place: 100, copied: true}} {
		// before event 100 many share an acknowledgement
		place := c.place
		t.Run(fmt.Sprintf("before event %d, with copies: %t", place, c.copied), func(t *testing.T) {
			boundary := fmt.Sprintf("orders%d_%t", place, c.copied)
			o := newOutbox(Config{NATS: conn}, boundary, slog.New(slog.DiscardHandler))
			stream, err := js.CreateStream(t.Context(), o.streamConfig(beginning))
			if err != nil {
				t.Fatal(err)
			}
			l := newPipeline(t.Context(), js, o, streamEnd{at: beginning})
			l.copied = c.copied
			for i := range place + 5 {
				if i == place {
					if err := conn.Publish(Subject(boundary, "Foreign"), []byte("{}")); err != nil {
						t.Fatal(err)
					}
				}
				sendEvent(t, l, i, i == place+4)
			}
			if err := l.settle(0); err == nil || l.settled.globalID >= place {
				t.Errorf("settled up to %d, %v", l.settled.globalID, err)
			}
			info, err := stream.Info(t.Context())
			// with copies the next ones fit: the pipeline knows, and takes over again
			if err != nil || info.State.Msgs != uint64(place+1) && !c.copied {
				t.Errorf("the stream has %d messages, want %d events and the foreign one (%v)", info.State.Msgs, place, err)
			}
			if err := l.send(&orisunpb.Event{}, true); err == nil {
				t.Error("a broken line sends")
			}
		})
	}
}

func TestAMessageTakenForADuplicateStopsThePipeline(t *testing.T) {
	conn, js := startJetStream(t)
	o := newOutbox(Config{NATS: conn}, "orders", slog.New(slog.DiscardHandler))
	config := o.streamConfig(beginning)
	config.Duplicates = time.Minute // longer than the test
	stream, err := js.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	first := newPipeline(t.Context(), js, o, streamEnd{at: beginning})
	sendEvents(t, first, 0, 10)
	if err := first.settle(0); err != nil {
		t.Fatal(err)
	}
	for sequence := uint64(8); sequence <= 10; sequence++ {
		if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}

	second := newPipeline(t.Context(), js, o, streamEnd{at: position{7, 6}, sequence: 10})
	sendEvents(t, second, 7, 8)
	if err := second.settle(0); err == nil {
		t.Error("it is not noticed")
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 7 || info.State.LastSeq != 10 {
		t.Errorf("the stream has %d messages up to %d: events are missing before the last one (%v)",
			info.State.Msgs, info.State.LastSeq, err)
	}
}

// NATS reports a message without a receiver, but a feed takes it.
func TestAPipelineNoticesThatItsStreamIsGoneThoughAFeedListens(t *testing.T) {
	conn, js := startJetStream(t)
	o := newOutbox(Config{NATS: conn}, "orders", slog.New(slog.DiscardHandler))
	if _, err := js.CreateStream(t.Context(), o.streamConfig(beginning)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.SubscribeSync(Subjects("orders")); err != nil {
		t.Fatal(err)
	}
	held, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := newPipeline(held, js, o, streamEnd{at: beginning})
	sendEvent(t, l, 0, true)
	if err := l.settle(0); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), StreamName("orders")); err != nil {
		t.Fatal(err)
	}
	sendEvent(t, l, 1, true)
	if err := l.settle(0); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the line says %v", err)
	}
}
