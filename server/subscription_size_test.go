package server

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/publisher"
	"github.com/oexza/orisun/server/eventtest"
)

// TestWhatTheDoorLetsInIsPublishedWhole saves the largest metadata and the longest names, all of characters that take
// most in a header.
func TestWhatTheDoorLetsInIsPublishedWhole(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	metadata := func(bytes int) string { return `{"": "` + strings.Repeat(" ", bytes-len(`{"": ""}`)) + `"}` }
	largest := func(size int) error {
		_, err := client.SaveEvents(t.Context(),
			&orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{{
				EventId: strings.Repeat("ä", 128), EventType: strings.Repeat("ö", 128), Data: `{}`, Metadata: metadata(size),
			}}})
		return err
	}
	if err := largest(20<<10 + 1); status.Code(err) != codes.InvalidArgument ||
		!strings.Contains(err.Error(), "events[0].metadata") {
		t.Errorf("a byte too much: %v", err)
	}
	if err := largest(20 << 10); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		stream, err := n.js.Stream(t.Context(), publisher.StreamName(eventtest.Boundary))
		if err != nil {
			return false
		}
		message, err := stream.GetMsg(t.Context(), 1)
		if err != nil {
			return false
		}
		event, _, err := publisher.Decode(message.Header, message.Data)
		if err != nil || event.GetMetadata() != metadata(20<<10) {
			t.Errorf("the message holds metadata of %d bytes, %v; want all of it", len(event.GetMetadata()), err)
		}
		return true
	})
}
