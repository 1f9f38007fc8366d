package server

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/eventtest"
)

func TestASubscriptionThatCannotBeIsRefusedWithTheFieldsThatAreWrong(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	for name, c := range map[string]struct {
		request *orisunpb.CatchUpSubscribeToEventStoreRequest
		code    codes.Code
		fields  []string
	}{
		"no boundary":         {&orisunpb.CatchUpSubscribeToEventStoreRequest{}, codes.InvalidArgument, []string{"boundary"}},
		"an unknown boundary": {&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "nowhere"}, codes.NotFound, nil},
		"a name too long": {
			&orisunpb.CatchUpSubscribeToEventStoreRequest{
				Boundary: eventtest.Boundary, SubscriberName: strings.Repeat("x", 257),
			},
			codes.InvalidArgument,
			[]string{"subscriber_name"},
		},
		"several at once": {
			&orisunpb.CatchUpSubscribeToEventStoreRequest{
				SubscriberName: "a\x00b", Query: eventtest.Where("", "x", "a", "b\x00"),
			},
			codes.InvalidArgument,
			[]string{"boundary", "query.criteria[0].tags[0].key", "query.criteria[0].tags[1].value", "subscriber_name"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := client.CatchUpSubscribeToEvents(t.Context(), c.request)
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != c.code {
				t.Fatalf("got %v, want %v", err, c.code)
			}
			var fields []string
			for _, detail := range status.Convert(err).Details() {
				if bad, ok := detail.(*errdetails.BadRequest); ok {
					for _, violation := range bad.GetFieldViolations() {
						fields = append(fields, violation.GetField())
					}
				}
			}
			if strings.Join(fields, " ") != strings.Join(c.fields, " ") {
				t.Errorf("the fields %q are blamed, want %q", fields, c.fields)
			}
		})
	}
}

func TestTheHeaderComesBeforeAnyEventAndCarriesTheToken(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	for _, name := range []string{"", "exclusive", "exclusive"} { // the last one waits for the name
		stream, err := n.client().CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
			Boundary: eventtest.Boundary, SubscriberName: name,
		})
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil || len(header.Get("x-auth-token")) != 1 {
			t.Errorf("header %v, %v: want it at once, with a token", header, err)
		}
	}
}

func TestANameHasOneSubscriberInTheClusterAndTheNextTakesOver(t *testing.T) {
	database := pgtest.Clone(t)
	first, second := newNode(t, database), newNode(t, database)
	writer := first.client()
	eventtest.Save(t, writer, "w", 0, 10)
	request := func(after *orisunpb.Position, name string) *orisunpb.CatchUpSubscribeToEventStoreRequest {
		return &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: after, SubscriberName: name}
	}
	holder := eventtest.Subscribe(t, first.client(), request(eventtest.Beginning, "projection"))
	holder.Reaches("w-9")
	standbys := []*eventtest.Subscription{
		eventtest.Subscribe(t, first.client(), request(eventtest.Beginning, "projection")),
		eventtest.Subscribe(t, second.client(), request(eventtest.Beginning, "projection")),
	}
	other := eventtest.Subscribe(t, second.client(), request(eventtest.Beginning, "another projection"))
	eventtest.Save(t, writer, "w", 10, 10)
	all := eventtest.Stored(t, writer, nil)
	holder.Wants(all)
	other.Wants(all) // by now a standby that did not wait would have had them too
	for i, s := range standbys {
		if events, _ := s.Received(); len(events) > 0 {
			t.Errorf("standby %d got %d events while the name is held", i, len(events))
		}
	}

	holder.Stop()
	for len(standbys) > 0 {
		next := takeover(t, standbys)
		standbys[next].Wants(all)
		standbys[next].Stop()
		standbys = append(standbys[:next], standbys[next+1:]...)
		for _, s := range standbys {
			if events, _ := s.Received(); len(events) > 0 {
				t.Errorf("two subscribers had the name at once")
			}
		}
	}
}

// takeover waits until one of the subscriptions gets an event.
func takeover(t *testing.T, standbys []*eventtest.Subscription) (next int) {
	t.Helper()
	waitFor(t, func() bool {
		for i, s := range standbys {
			if events, _ := s.Received(); len(events) > 0 {
				next = i
				return true
			}
		}
		return false
	})
	return next
}

func TestLosingTheNameEndsTheStream(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	named := eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		SubscriberName: "projection", AfterPosition: eventtest.Beginning,
	})
	free := eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		AfterPosition: eventtest.Beginning,
	})
	eventtest.Save(t, n.client(), "w", 0, 1)
	named.Reaches("w-0") // it holds the name
	if _, err := n.pool.Exec(t.Context(),
		`SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	<-named.Done
	if status.Code(named.Err) != codes.Unavailable || !strings.Contains(named.Err.Error(), "subscriber_name") {
		t.Errorf("the stream ended with %v, want UNAVAILABLE and why", named.Err)
	}
	eventtest.Save(t, n.client(), "w", 1, 1)
	free.Wants(eventtest.Stored(t, n.client(), nil))
	again := eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
		SubscriberName: "projection", AfterPosition: eventtest.Beginning,
	})
	again.Wants(eventtest.Stored(t, n.client(), nil))
}

func TestADrainingServerEndsItsStreams(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	eventtest.Save(t, n.client(), "w", 0, 1)
	var streams []*eventtest.Subscription
	for _, name := range []string{"", "projection", "projection"} {
		streams = append(streams,
			eventtest.Subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{
				SubscriberName: name, AfterPosition: eventtest.Beginning,
			}))
	}
	streams[0].Reaches("w-0")
	n.drain()
	for i, s := range streams {
		<-s.Done
		if status.Code(s.Err) != codes.Unavailable || !strings.Contains(s.Err.Error(), "shutting down") {
			t.Errorf("stream %d ended with %v, want UNAVAILABLE and why", i, s.Err)
		}
	}
}

func TestEventsArriveWhenJetStreamIsGone(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	eventtest.Save(t, client, "w", 0, 10)
	s := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: eventtest.Beginning})
	s.Wants(eventtest.Stored(t, client, nil))
	n.stopNATS()
	for i := range 5 {
		eventtest.Save(t, client, "w", 10*(i+1), 10)
		s.Wants(eventtest.Stored(t, client, nil))
	}
}

func TestAnEventLargerThanTheSendLimitNamesItsPosition(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	eventtest.Save(t, client, "w", 0, 3)
	_, err := n.pool.Exec(t.Context(),
		`INSERT INTO public.`+eventtest.Boundary+`_orisun_es_event (event_id, event_type, data)
		VALUES ('large', 'T', jsonb_build_object('pad', repeat('x', 65 * 1024 * 1024)))`)
	if err != nil {
		t.Fatal(err)
	}
	s := eventtest.Subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: eventtest.Beginning})
	<-s.Done
	if status.Code(s.Err) != codes.ResourceExhausted || !strings.Contains(s.Err.Error(), "{4,3}") {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED with the position {4,3}", s.Err)
	}
	if events, _ := s.Received(); len(events) != 3 {
		t.Errorf("%d events came before it, want 3", len(events))
	}
}
