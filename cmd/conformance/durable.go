package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

// durable is about subscriptions whose position the server stores. The original protocol has none.
func durable() []check {
	return slices.Concat(definitions(), deliveries(), parking(), groups(), checkpoints())
}

type definition = func(in *orisunpb.CreateSubscriptionRequest)

// define creates a subscription to the events with {"v": v} and returns its name.
func (t *trial) define(v string, change definition) string {
	in := &orisunpb.CreateSubscriptionRequest{
		Boundary: t.boundary, Name: unique(), Query: &orisunpb.Query{Criteria: []*orisunpb.Criterion{tagged("v", v)}},
	}
	if change != nil {
		change(in)
	}
	_, err := t.durable.CreateSubscription(t.ctx, in)
	t.must("CreateSubscription", err)
	return in.GetName()
}

func definitions() []check {
	find := func(t *trial, name string) (*orisunpb.Subscription, error) {
		answer, err := t.durable.GetSubscription(
			t.ctx, &orisunpb.GetSubscriptionRequest{Boundary: t.boundary, Name: name})
		return answer.GetSubscription(), err
	}
	refused := func(name, field string, change definition) check {
		return check{name, func(t *trial) {
			in := &orisunpb.CreateSubscriptionRequest{Boundary: t.boundary, Name: unique()}
			change(in)
			_, err := t.durable.CreateSubscription(t.ctx, in)
			t.wantField("CreateSubscription", err, field)
		}}
	}
	type in = *orisunpb.CreateSubscriptionRequest
	return []check{
		{"created, found, listed, deleted", func(t *trial) {
			name := t.define(unique(), nil)
			got, err := find(t, name)
			if err != nil || got.GetName() != name || got.GetBoundary() != t.boundary || got.GetPartitions() != 1 {
				t.errorf("GetSubscription: %v, %v", got, err)
			}
			list, err := t.durable.ListSubscriptions(
				t.ctx, &orisunpb.ListSubscriptionsRequest{Boundary: t.boundary})
			if err != nil || !slices.ContainsFunc(
				list.GetSubscriptions(), func(s *orisunpb.Subscription) bool { return s.GetName() == name }) {
				t.errorf("ListSubscriptions: %v, %v", list, err)
			}
			_, err = t.durable.DeleteSubscription(
				t.ctx, &orisunpb.DeleteSubscriptionRequest{Boundary: t.boundary, Name: name})
			t.wantCode("DeleteSubscription", err, codes.OK)
			_, err = find(t, name)
			t.wantCode("GetSubscription, then", err, codes.NotFound)
		}},
		{"another definition of a name is ALREADY_EXISTS", func(t *trial) {
			request := &orisunpb.CreateSubscriptionRequest{Boundary: t.boundary, Name: unique()}
			_, err := t.durable.CreateSubscription(t.ctx, request)
			t.must("CreateSubscription", err)
			_, err = t.durable.CreateSubscription(t.ctx, request)
			t.wantCode("the same", err, codes.OK)
			request.MaxRefusals = 7
			_, err = t.durable.CreateSubscription(t.ctx, request)
			t.wantCode("another of that name", err, codes.AlreadyExists)
		}},
		{"an unknown subscription is NOT_FOUND", func(t *trial) {
			_, err := find(t, unique())
			t.wantCode("GetSubscription", err, codes.NotFound)
			stream, err := t.durable.ReadSubscription(
				t.ctx, &orisunpb.ReadSubscriptionRequest{Boundary: t.boundary, Subscription: unique()})
			if err == nil {
				_, err = stream.Recv()
			}
			t.wantCode("ReadSubscription", err, codes.NotFound)
			_, err = t.durable.WaitForCheckpoint(t.ctx, &orisunpb.WaitForCheckpointRequest{
				Boundary: t.boundary, Subscription: unique(), Position: &orisunpb.Position{TransactionId: 1},
			})
			t.wantCode("WaitForCheckpoint", err, codes.NotFound)
		}},
		refused("a subscription without a name", "name", func(s in) { s.Name = "" }),
		refused("257 partitions", "partitions", func(s in) { s.PartitionKey, s.Partitions = "v", 257 }),
		refused("partitions without a key", "partitions", func(s in) { s.Partitions = 2 }),
		refused("park_following without a key", "park_following", func(s in) { s.ParkFollowing = true }),
		refused("1,001 refusals", "max_refusals", func(s in) { s.MaxRefusals = 1001 }),
		refused("an ack_timeout of half a second", "ack_timeout", func(s in) {
			s.AckTimeout = durationpb.New(time.Second / 2)
		}),
	}
}

func deliveries() []check {
	starts := func(name string, count int, start func(at *orisunpb.Position) *orisunpb.SubscriptionStart) check {
		return check{name, func(t *trial) {
			v := unique()
			before := event(v)
			at := t.save(nil, before)
			stored := event(v)
			t.save(nil, stored)
			subscription := t.define(v, func(in *orisunpb.CreateSubscriptionRequest) { in.Start = start(at) })
			last := event(v)
			t.save(nil, last)
			all := savedIDs([]*orisunpb.EventToSave{before, stored, last})
			t.wantIDs("the consumer", t.consume(subscription).take(count), all[3-count:])
		}}
	}
	return []check{
		{"what is stored, then what comes, in order, each once", func(t *trial) {
			v := unique()
			all := events(v, 20)
			t.save(nil, append([]*orisunpb.EventToSave{event("other")}, all[:10]...)...)
			c := t.consume(t.define(v, nil))
			got := c.take(10)
			for _, e := range all[10:] {
				t.save(nil, event("other"), e)
			}
			t.wantIDs("the consumer", append(got, c.take(10)...), savedIDs(all))
		}},
		starts("from the beginning", 3, func(*orisunpb.Position) *orisunpb.SubscriptionStart {
			return &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Beginning{Beginning: true}}
		}),
		starts("after a position", 2, func(at *orisunpb.Position) *orisunpb.SubscriptionStart {
			return &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_AfterPosition{AfterPosition: at}}
		}),
		starts("from now on", 1, func(*orisunpb.Position) *orisunpb.SubscriptionStart {
			return &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Now{Now: true}}
		}),
		{"an event has its position, its data and a first delivery", func(t *trial) {
			v := unique()
			saved := event(v)
			at := t.save(nil, saved)
			d := t.consume(t.define(v, nil)).next()
			t.wantPosition("the event", d.GetEvent().GetPosition(), at)
			t.wantIDs("the event", idsOf([]*orisunpb.Event{d.GetEvent()}), []string{saved.GetEventId()})
			if d.GetEvent().GetEventType() != "Conforms" || d.GetDeliveryCount() != 1 || d.GetReplayed() {
				t.errorf("%v", d)
			}
		}},
		{"what is acknowledged does not come again, the rest does", func(t *trial) {
			v := unique()
			all := events(v, 5)
			t.save(nil, all...)
			subscription := t.define(v, nil)
			first := t.consume(subscription)
			got := first.receive(5)
			first.through(got[2])
			first.finish()
			t.wantIDs("the next consumer", t.consume(subscription).take(2), savedIDs(all[3:]))
		}},
		{"events are acknowledged one by one, too", func(t *trial) {
			v := unique()
			all := events(v, 3)
			t.save(nil, all...)
			subscription := t.define(v, nil)
			first := t.consume(subscription)
			got := first.receive(3)
			first.acknowledge(got[0])
			first.acknowledge(got[2])
			first.finish()
			later := event(v)
			t.save(nil, later)
			want := []string{all[1].GetEventId(), later.GetEventId()}
			t.wantIDs("the next consumer", t.consume(subscription).take(2), want)
		}},
		{"no more than the window is delivered", func(t *trial) {
			v := unique()
			all := events(v, 3)
			t.save(nil, all...)
			subscription := t.define(v, nil)
			c := t.consume(subscription, 1)
			d := c.next()
			err := t.reached(subscription, d.GetEvent().GetPosition(), time.Second/2)
			t.wantCode("WaitForCheckpoint, as time to wait", err, codes.DeadlineExceeded)
			select {
			case more := <-t.arrivals:
				more.handle()
			default:
			}
			if len(c.pending) != 0 {
				t.errorf("with a window of 1, %d more events came", len(c.pending))
			}
			c.acknowledge(d)
			t.wantIDs("the rest", c.take(2), savedIDs(all[1:]))
		}},
		{"what is not settled comes again after ack_timeout", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			c := t.consume(t.define(v, func(in *orisunpb.CreateSubscriptionRequest) {
				in.AckTimeout = durationpb.New(time.Second)
			}))
			c.again(c.next())
		}},
		{"by ReadSubscription and Settle", func(t *trial) {
			v := unique()
			all := events(v, 2)
			t.save(nil, all...)
			subscription := t.define(v, nil)
			c := t.read(subscription)
			got := c.receive(2)
			settle := func(consumer string, epoch int64) error {
				_, err := t.durable.Settle(t.ctx, &orisunpb.SettleRequest{
					Boundary: t.boundary, ConsumerId: consumer,
					Acknowledge: []*orisunpb.Acknowledgement{{Epoch: epoch, Through: got[0].GetEvent().GetPosition()}},
				})
				return err
			}
			t.wantCode("another consumer's Settle", settle(unique(), got[0].GetEpoch()), codes.NotFound)
			t.wantCode("with another epoch", settle(c.id, got[0].GetEpoch()+1), codes.FailedPrecondition)
			t.wantCode("Settle", settle(c.id, got[0].GetEpoch()), codes.OK)
			c.cancel()
			t.wantIDs("the next consumer", t.consume(subscription).take(1), savedIDs(all[1:]))
		}},
		{"without a key the second consumer stands by", func(t *trial) {
			v := unique()
			all := events(v, 3)
			subscription := t.define(v, nil)
			active := t.consume(subscription)
			active.waitFor(func() bool { return len(active.held) == 1 })
			standby := t.consume(subscription)
			t.save(nil, all[:2]...)
			t.wantIDs("the first consumer", active.take(2), savedIDs(all[:2]))
			if len(standby.held)+len(standby.pending) != 0 {
				t.errorf("the second consumer got partitions %v and events %v", standby.held, standby.pending)
			}
			active.finish()
			t.save(nil, all[2])
			t.wantIDs("the second consumer, then", standby.take(1), savedIDs(all[2:]))
		}},
		{"a reset ends the consumers and delivers again", func(t *trial) {
			v := unique()
			all := events(v, 2)
			t.save(nil, all...)
			subscription := t.define(v, nil)
			c := t.consume(subscription)
			t.wantIDs("the consumer", c.take(2), savedIDs(all))
			_, err := t.durable.ResetSubscription(t.ctx, &orisunpb.ResetSubscriptionRequest{
				Boundary: t.boundary, Name: subscription,
				Start: &orisunpb.SubscriptionStart{Start: &orisunpb.SubscriptionStart_Beginning{Beginning: true}},
			})
			t.must("ResetSubscription", err)
			t.wantReason("the stream", c.wait(), codes.Aborted, "SUBSCRIPTION_RESET")
			t.wantIDs("after it", t.consume(subscription).take(2), savedIDs(all))
		}},
		{"a deletion ends the consumers", func(t *trial) {
			subscription := t.define(unique(), nil)
			c := t.consume(subscription)
			_, err := t.durable.DeleteSubscription(
				t.ctx, &orisunpb.DeleteSubscriptionRequest{Boundary: t.boundary, Name: subscription})
			t.must("DeleteSubscription", err)
			t.wantCode("the stream", c.wait(), codes.NotFound)
		}},
	}
}

func parking() []check {
	// once parks after the first refusal.
	once := func(in *orisunpb.CreateSubscriptionRequest) { in.MaxRefusals = 1 }
	return []check{
		{"a refused event comes again, and is parked in the end", func(t *trial) {
			v := unique()
			broken, sound := event(v), event(v)
			t.save(nil, broken)
			at := t.save(nil, sound)
			subscription := t.define(v, func(in *orisunpb.CreateSubscriptionRequest) { in.MaxRefusals = 2 })
			c := t.consume(subscription)
			got := c.receive(2)
			c.refuse(got[0], "broken")
			c.acknowledge(got[1])
			c.refuse(c.again(got[0]), "broken again")
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			parked := t.parked(subscription)
			if len(parked) != 1 || parked[0].GetEvent().GetEventId() != broken.GetEventId() ||
				parked[0].GetReason() != "broken again" || parked[0].GetRefusals() != 2 {
				t.errorf("ListParked: %v", parked)
			}
		}},
		{"a delayed event comes again, and that is no refusal", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			subscription := t.define(v, once)
			c := t.consume(subscription)
			d := c.next()
			c.delay(d, time.Second/10)
			c.acknowledge(c.again(d))
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			if parked := t.parked(subscription); len(parked) != 0 {
				t.errorf("parked: %v", parked)
			}
		}},
		{"a parked event is replayed", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			subscription := t.define(v, once)
			c := t.consume(subscription)
			d := c.next()
			c.refuse(d, "")
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			answer, err := t.durable.ReplayParked(
				t.ctx, &orisunpb.ReplayParkedRequest{Boundary: t.boundary, Subscription: subscription})
			if err != nil || answer.GetEvents() != 1 {
				t.errorf("ReplayParked: %v, %v", answer, err)
			}
			replayed := c.next()
			if replayed.GetEvent().GetEventId() != d.GetEvent().GetEventId() || !replayed.GetReplayed() {
				t.errorf("it came as %v", replayed)
			}
			c.acknowledge(replayed)
			c.finish()
			if parked := t.parked(subscription); len(parked) != 0 {
				t.errorf("parked afterwards: %v", parked)
			}
		}},
		{"a skipped event never comes again", func(t *trial) {
			v := unique()
			at := t.save(nil, event(v))
			subscription := t.define(v, once)
			c := t.consume(subscription)
			c.refuse(c.next(), "")
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			answer, err := t.durable.SkipParked(
				t.ctx, &orisunpb.SkipParkedRequest{Boundary: t.boundary, Subscription: subscription, All: true})
			if err != nil || answer.GetEvents() != 1 {
				t.errorf("SkipParked: %v, %v", answer, err)
			}
			if parked := t.parked(subscription); len(parked) != 0 {
				t.errorf("parked afterwards: %v", parked)
			}
			later := event(v)
			t.save(nil, later)
			t.wantIDs("the consumer, then", c.take(1), []string{later.GetEventId()})
		}},
		{"with park_following later events of the key are parked", func(t *trial) {
			v := unique()
			first, second := keyed(v, "a"), keyed(v, "a")
			other := keyed(v, "b")
			at := t.save(nil, first, second, other)
			subscription := t.define(v, func(in *orisunpb.CreateSubscriptionRequest) {
				in.PartitionKey, in.Partitions, in.MaxRefusals, in.ParkFollowing = "k", 1, 1, true
			})
			c := t.consume(subscription)
			for range 2 {
				if d := c.next(); d.GetEvent().GetEventId() == first.GetEventId() {
					c.refuse(d, "broken")
				} else {
					t.wantIDs("the other key", idsOf([]*orisunpb.Event{d.GetEvent()}), []string{other.GetEventId()})
					c.acknowledge(d)
				}
			}
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			var ids []string
			for _, parked := range t.parked(subscription) {
				ids = append(ids, parked.GetEvent().GetEventId())
			}
			t.wantIDs("ListParked", ids, []string{first.GetEventId(), second.GetEventId()})
		}},
	}
}

// keyed is an event with {"v": v, "k": key}.
func keyed(v, key string) *orisunpb.EventToSave {
	e := event(v)
	e.Data = fmt.Sprintf(`{"v": %q, "k": %q}`, v, key)
	return e
}

func groups() []check {
	byKey := func(in *orisunpb.CreateSubscriptionRequest) { in.PartitionKey, in.Partitions = "k", 8 }
	return []check{
		{"of a key the next event comes after the settlement", func(t *trial) {
			v := unique()
			first, second := keyed(v, "a"), keyed(v, "a")
			other := keyed(v, "b")
			t.save(nil, first, second, other)
			c := t.consume(t.define(v, func(in *orisunpb.CreateSubscriptionRequest) {
				in.PartitionKey, in.Partitions = "k", 1
			}))
			got := c.receive(2)
			ids := []string{got[0].GetEvent().GetEventId(), got[1].GetEvent().GetEventId()}
			t.wantIDs("the consumer", ids, []string{first.GetEventId(), other.GetEventId()})
			c.acknowledge(got[0])
			t.wantIDs("after its acknowledgement", c.take(1), []string{second.GetEventId()})
		}},
		{"two consumers share the keys, each key is in order", func(t *trial) {
			v := unique()
			subscription := t.define(v, byKey)
			one, two := t.consume(subscription), t.consume(subscription)
			t.until(func() bool { return len(one.held) == 4 && len(two.held) == 4 })
			for partition := range one.held {
				if two.held[partition] {
					t.errorf("both hold partition %d", partition)
				}
			}
			const keys, each = 16, 4
			want, got := map[string][]string{}, map[string][]string{}
			for i := range keys * each {
				key := fmt.Sprint(i % keys)
				e := keyed(v, key)
				e.EventId = key + "/" + e.GetEventId()
				t.save(nil, e)
				want[key] = append(want[key], e.GetEventId())
			}
			holder := map[string]*consumer{}
			for range keys * each {
				t.until(func() bool { return len(one.pending)+len(two.pending) > 0 })
				c := one
				if len(one.pending) == 0 {
					c = two
				}
				d := c.next()
				key, _, _ := strings.Cut(d.GetEvent().GetEventId(), "/")
				if holder[key] == nil {
					holder[key] = c
				}
				if holder[key] != c {
					t.errorf("both consumers got events of the key %s", key)
				}
				got[key] = append(got[key], d.GetEvent().GetEventId())
				c.acknowledge(d)
			}
			for key := range want {
				t.wantIDs("the key "+key, got[key], want[key])
			}
			one.finish()
			two.waitFor(func() bool { return len(two.held) == 8 })
			var later []string
			for i := range keys {
				e := keyed(v, fmt.Sprint(i))
				t.save(nil, e)
				later = append(later, e.GetEventId())
			}
			rest := two.take(keys)
			slices.Sort(rest)
			slices.Sort(later)
			t.wantIDs("the one that stays", rest, later)
		}},
	}
}

func checkpoints() []check {
	return []check{
		{"WaitForCheckpoint waits for the acknowledgement", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			at := t.save(nil, event(v))
			subscription := t.define(v, nil)
			c := t.consume(subscription)
			got := c.receive(2)
			c.acknowledge(got[1])
			err := t.reached(subscription, at, time.Second/2)
			t.wantCode("before the acknowledgement of the first", err, codes.DeadlineExceeded)
			c.acknowledge(got[0])
			t.wantCode("after it", t.reached(subscription, at, 0), codes.OK)
		}},
		{"WaitForCheckpoint passes what does not match", func(t *trial) {
			v := unique()
			subscription := t.define(v, nil)
			t.consume(subscription)
			t.wantCode("WaitForCheckpoint", t.reached(subscription, t.save(nil, event("other")), 0), codes.OK)
		}},
		{"the checkpoint and what is parked are in GetSubscription", func(t *trial) {
			v := unique()
			t.save(nil, event(v))
			at := t.save(nil, event(v))
			subscription := t.define(v, func(in *orisunpb.CreateSubscriptionRequest) { in.MaxRefusals = 1 })
			c := t.consume(subscription)
			got := c.receive(2)
			c.refuse(got[0], "")
			c.acknowledge(got[1])
			t.must("WaitForCheckpoint", t.reached(subscription, at, 0))
			c.finish()
			answer, err := t.durable.GetSubscription(
				t.ctx, &orisunpb.GetSubscriptionRequest{Boundary: t.boundary, Name: subscription})
			s := answer.GetSubscription()
			if err != nil || s.GetCheckpoint().GetGlobalId() < at.GetGlobalId() || s.GetParked() != 1 {
				t.errorf("%v, %v, want a checkpoint of %v", s, err, at)
			}
		}},
	}
}
