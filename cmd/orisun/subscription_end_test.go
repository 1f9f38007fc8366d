package main

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
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
			&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: followedBoundary, SubscriberName: strings.Repeat("x", 257)},
			codes.InvalidArgument,
			[]string{"subscriber_name"},
		},
		"several at once": {
			&orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "a\x00b", Query: where("", "x", "a", "b\x00")},
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
		stream, err := n.client().CatchUpSubscribeToEvents(t.Context(), &orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: followedBoundary, SubscriberName: name})
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
	save(t, writer, "w", 0, 10)
	request := func(after *orisunpb.Position, name string) *orisunpb.CatchUpSubscribeToEventStoreRequest {
		return &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: after, SubscriberName: name}
	}
	holder := subscribe(t, first.client(), request(start, "projection"))
	holder.reaches("w-9")
	standbys := []*subscription{
		subscribe(t, first.client(), request(start, "projection")),
		subscribe(t, second.client(), request(start, "projection")),
	}
	other := subscribe(t, second.client(), request(start, "another projection"))
	save(t, writer, "w", 10, 10)
	all := stored(t, writer, nil)
	holder.wants(all)
	other.wants(all) // by now a standby that did not wait would have had them too
	for i, s := range standbys {
		if events, _ := s.received(); len(events) > 0 {
			t.Errorf("standby %d got %d events while the name is held", i, len(events))
		}
	}

	holder.stop()
	for len(standbys) > 0 {
		next := takeover(t, standbys)
		standbys[next].wants(all)
		standbys[next].stop()
		standbys = append(standbys[:next], standbys[next+1:]...)
		for _, s := range standbys {
			if events, _ := s.received(); len(events) > 0 {
				t.Errorf("two subscribers had the name at once")
			}
		}
	}
}

// takeover waits until one of the subscriptions gets an event.
func takeover(t *testing.T, standbys []*subscription) (next int) {
	t.Helper()
	waitFor(t, func() bool {
		for i, s := range standbys {
			if events, _ := s.received(); len(events) > 0 {
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
	named := subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "projection", AfterPosition: start})
	free := subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start})
	save(t, n.client(), "w", 0, 1)
	named.reaches("w-0") // it holds the name
	if _, err := n.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	<-named.done
	if status.Code(named.err) != codes.Unavailable || !strings.Contains(named.err.Error(), "subscriber_name") {
		t.Errorf("the stream ended with %v, want UNAVAILABLE and why", named.err)
	}
	save(t, n.client(), "w", 1, 1)
	free.wants(stored(t, n.client(), nil))
	again := subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: "projection", AfterPosition: start})
	again.wants(stored(t, n.client(), nil))
}

func TestADrainingServerEndsItsStreams(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	save(t, n.client(), "w", 0, 1)
	var streams []*subscription
	for _, name := range []string{"", "projection", "projection"} {
		streams = append(streams, subscribe(t, n.client(), &orisunpb.CatchUpSubscribeToEventStoreRequest{SubscriberName: name, AfterPosition: start}))
	}
	streams[0].reaches("w-0")
	n.drain()
	for i, s := range streams {
		<-s.done
		if status.Code(s.err) != codes.Unavailable || !strings.Contains(s.err.Error(), "shutting down") {
			t.Errorf("stream %d ended with %v, want UNAVAILABLE and why", i, s.err)
		}
	}
}

func TestEventsArriveWhenJetStreamIsGone(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	save(t, client, "w", 0, 10)
	s := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start})
	s.wants(stored(t, client, nil))
	n.stopNATS()
	for i := range 5 {
		save(t, client, "w", 10*(i+1), 10)
		s.wants(stored(t, client, nil))
	}
}

func TestAnEventLargerThanTheSendLimitNamesItsPosition(t *testing.T) {
	n := newNode(t, pgtest.Clone(t))
	client := n.client()
	save(t, client, "w", 0, 3)
	_, err := n.pool.Exec(t.Context(), `INSERT INTO public.`+followedBoundary+`_orisun_es_event (event_id, event_type, data)
		VALUES ('large', 'T', jsonb_build_object('pad', repeat('x', 65 * 1024 * 1024)))`)
	if err != nil {
		t.Fatal(err)
	}
	s := subscribe(t, client, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: start})
	<-s.done
	if status.Code(s.err) != codes.ResourceExhausted || !strings.Contains(s.err.Error(), "{4,3}") {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED with the position {4,3}", s.err)
	}
	if events, _ := s.received(); len(events) != 3 {
		t.Errorf("%d events came before it, want 3", len(events))
	}
}
