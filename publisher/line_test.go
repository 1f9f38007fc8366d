package publisher

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/types/known/timestamppb"

	embedded "github.com/oexza/orisun/cmd/orisun/jetstream"
	orisunpb "github.com/oexza/orisun/proto"
)

// What is published between our messages, on the same connection, gets between them without fail.
func TestAMessageThatGotInBetweenStopsTheLine(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Config{
		ServerName: "test", Host: "127.0.0.1", User: "admin", Password: "changeit", MaxPayload: 1 << 20, StoreDir: t.TempDir(),
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

	for place := range 3 {
		t.Run(fmt.Sprint("before event ", place), func(t *testing.T) {
			boundary := fmt.Sprint("orders", place)
			o := newOutbox(Config{NATS: conn}, boundary, slog.New(slog.DiscardHandler))
			stream, err := js.CreateStream(t.Context(), o.streamConfig(beginning))
			if err != nil {
				t.Fatal(err)
			}
			l := newLine(js, o, streamEnd{at: beginning}, context.Background())
			for i := range 5 {
				if i == place {
					if err := conn.Publish(Subject(boundary, "Foreign"), []byte("{}")); err != nil {
						t.Fatal(err)
					}
				}
				if err := l.send(&orisunpb.Event{EventId: fmt.Sprint(i), EventType: "T", Data: "{}", Metadata: "{}",
					Position: &orisunpb.Position{TransactionId: int64(i + 1), GlobalId: int64(i)}, DateCreated: timestamppb.New(time.Now())}); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.settle(0); err == nil || l.settled.globalID != int64(place-1) {
				t.Errorf("settled up to %d, %v", l.settled.globalID, err)
			}
			info, err := stream.Info(t.Context())
			if err != nil || info.State.Msgs != uint64(place+1) {
				t.Errorf("the stream has %d messages, want %d events and the foreign one (%v)", info.State.Msgs, place, err)
			}
			if err := l.send(&orisunpb.Event{}); err == nil {
				t.Error("a broken line sends")
			}
		})
	}
}
