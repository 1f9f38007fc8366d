package main

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	orisunpb "github.com/oexza/orisun/proto"
)

func subscriptions() []check {
	query := func(v string) *orisunpb.Query {
		return &orisunpb.Query{Criteria: []*orisunpb.Criterion{tagged("v", v)}}
	}
	return []check{
		{"what is stored, in order, each once", func(t *trial) {
			v := unique()
			all := events(v, 20)
			t.save(nil, all...)
			t.wantIDs(
				"the stream",
				idsOf(t.follow(20, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, nil)),
				savedIDs(all),
			)
		}},
		{"after a position", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			later := events(v, 2)
			t.save(nil, later...)
			t.wantIDs(
				"the stream",
				idsOf(t.follow(2, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: at, Query: query(v)}, nil)),
				savedIDs(later),
			)
		}},
		{"what is stored, then what comes", func(t *trial) {
			v := unique()
			all := events(v, 40)
			t.save(nil, all[:20]...)
			got := t.follow(40, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, func() {
				for _, e := range all[20:] {
					t.save(nil, e)
				}
			})
			t.wantIDs("the stream", idsOf(got), savedIDs(all))
		}},
		{"without after_position from now on", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			later := event(v)
			got := t.follow(1, &orisunpb.CatchUpSubscribeToEventStoreRequest{Query: query(v)}, func() { t.save(nil, later) })
			t.wantIDs("the stream", idsOf(got), []string{later.GetEventId()})
		}},
		{"what does not match does not come", func(t *trial) {
			v := unique()
			t.save(nil, event("other"), event(v), event("other"))
			last := event(v)
			t.save(nil, event("other"), last)
			got := t.follow(2, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, nil)
			if ids := idsOf(got); len(ids) != 2 || ids[1] != last.GetEventId() {
				t.errorf("%v", ids)
			}
		}},
		{"writers at once: the stream is what is read", func(t *trial) {
			v := unique()
			got := t.follow(64, &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}, func() {
				var running sync.WaitGroup
				for range 8 {
					running.Go(func() {
						for range 8 {
							if _, err := t.trySave(nil, event(v)); err != nil {
								return // the stream's deadline says so
							}
						}
					})
				}
				running.Wait()
			})
			t.wantIDs("the stream", idsOf(got), idsOf(t.get(v, nil)))
		}},
		{"an event has its position and its data", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			request := &orisunpb.CatchUpSubscribeToEventStoreRequest{AfterPosition: none(), Query: query(v)}
			for _, e := range t.follow(1, request, nil) {
				t.wantPosition("the event", e.GetPosition(), at)
				if !strings.Contains(e.GetData(), v) || e.GetEventType() != "Conforms" || e.GetDateCreated() == nil {
					t.errorf("%v", e)
				}
			}
		}},
		{"an unknown boundary is NOT_FOUND", func(t *trial) {
			stream, err := t.store.CatchUpSubscribeToEvents(
				t.ctx,
				&orisunpb.CatchUpSubscribeToEventStoreRequest{Boundary: "nowhere_" + unique()[:8]},
			)
			if err == nil {
				_, err = stream.Recv()
			}
			t.wantCode("the stream", err, codes.NotFound)
		}},
		{"a later subscription of the name replaces the older one", func(t *trial) {
			name, v := unique(), unique()
			t.save(nil, event(v))
			subscribe := func() (grpc.ServerStreamingClient[orisunpb.Event], error) {
				stream, err := t.store.CatchUpSubscribeToEvents(t.ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: t.boundary, SubscriberName: name, AfterPosition: none(), Query: query(v),
				})
				if err == nil {
					_, err = stream.Recv()
				}
				return stream, err
			}
			older, err := subscribe()
			t.wantCode("the first", err, codes.OK)
			_, err = subscribe()
			t.wantCode("the second", err, codes.OK)
			if older != nil {
				_, err = older.Recv()
				t.wantReason("the first, then", err, codes.Aborted, "SUBSCRIPTION_REPLACED")
			}
		}},
		{"from another connection the name is a hot standby", func(t *trial) {
			name, v := unique(), unique()
			t.save(nil, event(v))
			subscribe := func(ctx context.Context, store orisunpb.EventStoreClient, want string) func() string {
				stream, err := store.CatchUpSubscribeToEvents(ctx, &orisunpb.CatchUpSubscribeToEventStoreRequest{
					Boundary: t.boundary, SubscriberName: name, AfterPosition: none(), Query: query(v),
				})
				t.must("a subscription", err)
				header, err := stream.Header()
				t.must("its header", err)
				if got := header.Get("x-orisun-subscription"); len(got) != 1 || got[0] != want {
					t.errorf("x-orisun-subscription is %v, want %s", got, want)
				}
				return func() string {
					e, err := stream.Recv()
					t.must("the "+want+" subscription", err)
					return e.GetEventId()
				}
			}
			active, end := context.WithCancel(t.ctx)
			defer end()
			id := subscribe(active, t.store, "active")()
			other := t.connect(grpc.WithPerRPCCredentials(t.user))
			defer other.Close() //nolint:errcheck // a connection for one check
			standby := subscribe(t.ctx, orisunpb.NewEventStoreClient(other), "standby")
			end()
			if got := standby(); got != id {
				t.errorf("the standby gets %s, want %s", got, id)
			}
		}},
	}
}
