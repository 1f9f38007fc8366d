package server

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

// named subscribes under the name "projection" and waits for the header, which says if the stream is active or a
// standby.
func named(
	t *testing.T, client orisunpb.EventStoreClient, want string,
) orisunpb.EventStore_CatchUpSubscribeToEventsClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	t.Cleanup(cancel)
	stream, err := client.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: eventtest.Boundary, SubscriberName: "projection", AfterPosition: eventtest.Beginning,
	})
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.Header()
	if got := header.Get("x-orisun-subscription"); err != nil || !slices.Equal(got, []string{want}) {
		t.Errorf("the header says %q, %v, want %s", got, err, want)
	}
	return stream
}

// gets wants the next event to be the one with this id.
func gets(t *testing.T, stream orisunpb.EventStore_CatchUpSubscribeToEventsClient, id string) {
	t.Helper()
	if event, err := stream.Recv(); err != nil || event.GetEventId() != id {
		t.Fatalf("got %v, %v, want event %s", event, err, id)
	}
}

// isReplaced wants a stream to end because another one took its place. What was sent before may come first.
func isReplaced(t *testing.T, stream orisunpb.EventStore_CatchUpSubscribeToEventsClient, was string) {
	t.Helper()
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	reason := ""
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.GetReason()
		}
	}
	if status.Code(err) != codes.Aborted || reason != "SUBSCRIPTION_REPLACED" {
		t.Errorf("the replaced stream ends with %v, reason %q", err, reason)
	}
	if got := stream.Trailer().Get("x-orisun-subscription"); !slices.Equal(got, []string{was}) {
		t.Errorf("its trailer says %q, want %s", got, was)
	}
}

func TestANamedSubscriptionThatIsOpenedAgainOnItsConnectionReplacesTheOldOne(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client, other := n.client(), n.client()
	eventtest.Save(t, client, "w", 0, 1)
	first := named(t, client, "active")
	gets(t, first, "w-0")
	standby := named(t, other, "standby")
	second := named(t, client, "active")
	gets(t, second, "w-0")
	isReplaced(t, first, "active")
	third := named(t, client, "active") // while the one before has unread events
	isReplaced(t, second, "active")
	gets(t, third, "w-0")

	standbyToo := named(t, other, "standby") // a standby is replaced by a standby
	isReplaced(t, standby, "standby")
	if err := third.CloseSend(); err != nil {
		t.Fatal(err)
	}
	eventtest.Save(t, client, "w", 1, 1)
	gets(t, third, "w-1") // closing the sending side ends nothing
	n.drain()
	for stream, last := range map[orisunpb.EventStore_CatchUpSubscribeToEventsClient]string{
		third: "active", standbyToo: "standby",
	} {
		if _, err := stream.Recv(); status.Code(err) != codes.Unavailable ||
			!slices.Equal(stream.Trailer().Get("x-orisun-subscription"), []string{last}) {
			t.Errorf("the drain ends it with %v and the trailer %v, want %s", err, stream.Trailer(), last)
		}
	}
}

func TestAStandbyThatBecameActiveSaysSoInItsTrailer(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	eventtest.Save(t, n.client(), "w", 0, 1)
	holder := eventtest.Subscribe(t, n.client(),
		&orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "projection"})
	standby := named(t, n.client(), "standby")
	holder.Stop()
	gets(t, standby, "w-0")
	n.drain()
	if _, err := standby.Recv(); status.Code(err) != codes.Unavailable ||
		!slices.Equal(standby.Trailer().Get("x-orisun-subscription"), []string{"active"}) {
		t.Errorf("%v, trailer %v", err, standby.Trailer())
	}
}

// A client that does not read holds up the stream that sends to it, not the one that takes its place.
func TestASubscriptionWhoseClientDoesNotReadIsReplaced(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	for i := range 20 {
		request := &orisunpb.SaveEventsRequest{Boundary: eventtest.Boundary, Events: []*orisunpb.EventToSave{{
			EventId: string(rune('a' + i)), EventType: "Large", Data: `{"pad": "` + strings.Repeat("x", 512<<10) + `"}`,
		}}}
		if _, err := client.SaveEvents(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	unread := named(t, client, "active")
	gets(t, unread, "a") // it sends, and fills the stream's window
	second := named(t, client, "active")
	for i := range 20 {
		gets(t, second, string(rune('a'+i)))
	}
	isReplaced(t, unread, "active")
}

func TestAnotherUserOnTheSameConnectionIsAStandby(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	conn := dial(t, n.address)
	as := func(username, password string) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		t.Cleanup(cancel)
		return metadata.AppendToOutgoingContext(ctx, "authorization",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
	}
	if _, err := orisunpb.NewAdminClient(conn).CreateUser(as("admin", "changeit"), &orisunpb.CreateUserRequest{
		// others may not take a name that is used
		Name: "Jane", Username: "jane", Password: "correct horse", Roles: []string{"admin"},
	}); err != nil {
		t.Fatal(err)
	}
	request := &orisunpb.CatchUpSubscribeToEventStoreRequest{
		Boundary: eventtest.Boundary, SubscriberName: "projection", AfterPosition: eventtest.Beginning,
	}
	open := func(ctx context.Context, want string) grpc.ServerStreamingClient[orisunpb.Event] {
		stream, err := orisunpb.NewEventStoreClient(conn).CatchUpSubscribeToEvents(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if got := header.Get("x-orisun-subscription"); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("the header says %q, %v, want %s", got, err, want)
		}
		return stream
	}
	first := open(as("admin", "changeit"), "active")
	open(as("jane", "correct horse"), "standby")
	eventtest.Save(t, n.client(), "w", 0, 1)
	gets(t, first, "w-0")
}

func TestASubscriptionWithoutANameSaysNothingOfStandby(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	for range 2 { // neither replaces the other
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		stream, err := client.CatchUpSubscribeToEvents(ctx,
			&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: eventtest.Boundary})
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil || len(header.Get("x-orisun-subscription")) > 0 {
			t.Errorf("header %v, %v", header, err)
		}
		defer func() {
			eventtest.Save(t, client, "w", 0, 1) // a retry after the first time
			gets(t, stream, "w-0")
		}()
	}
}
