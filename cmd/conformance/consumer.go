package main

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	orisunpb "github.com/oexza/orisun/proto"
)

// consumer is a stream of Consume or ReadSubscription. What it fails to get ends the check.
type consumer struct {
	t         *trial
	id        string
	send      func(*orisunpb.ConsumeRequest) error
	closeSend func() error
	cancel    context.CancelFunc

	pending []*orisunpb.Delivery
	held    map[uint32]bool // partitions
	end     error           // of the stream
}

// arrival is what a consumer's stream receives.
type arrival struct {
	at       *consumer
	response *orisunpb.ConsumeResponse
	err      error
}

// consume begins a stream. The window is the server's default without one.
func (t *trial) consume(subscription string, window ...uint32) *consumer {
	ctx, cancel := context.WithCancel(t.ctx)
	stream, err := t.durable.Consume(ctx)
	t.must("Consume", err)
	start := &orisunpb.ConsumeStart{Boundary: t.boundary, Subscription: subscription}
	if len(window) > 0 {
		start.Window = window[0]
	}
	c := &consumer{t: t, send: stream.Send, closeSend: stream.CloseSend, cancel: cancel}
	c.request(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Start{Start: start}})
	return c.begin(stream.Recv)
}

// read begins a stream of a client that cannot stream requests.
func (t *trial) read(subscription string) *consumer {
	ctx, cancel := context.WithCancel(t.ctx)
	stream, err := t.durable.ReadSubscription(
		ctx, &orisunpb.ReadSubscriptionRequest{Boundary: t.boundary, Subscription: subscription})
	t.must("ReadSubscription", err)
	return (&consumer{t: t, cancel: cancel}).begin(stream.Recv)
}

// begin returns when the server has said what the consumer's id is.
func (c *consumer) begin(receive func() (*orisunpb.ConsumeResponse, error)) *consumer {
	c.held = map[uint32]bool{}
	go func() {
		for {
			response, err := receive()
			select {
			case c.t.arrivals <- arrival{c, response, err}:
			case <-c.t.ctx.Done(): // the check is over
				return
			}
			if err != nil {
				return
			}
		}
	}()
	c.waitFor(func() bool { return c.id != "" })
	return c
}

func (a arrival) handle() {
	c := a.at
	c.end = a.err
	switch r := a.response.GetResponse().(type) {
	case *orisunpb.ConsumeResponse_Started:
		c.id = r.Started.GetConsumerId()
	case *orisunpb.ConsumeResponse_Deliveries:
		c.pending = append(c.pending, r.Deliveries.GetDeliveries()...)
	case *orisunpb.ConsumeResponse_Assigned:
		for _, p := range r.Assigned.GetPartitions() {
			c.held[p.GetPartition()] = true
		}
	case *orisunpb.ConsumeResponse_Revoked:
		for _, p := range r.Revoked.GetPartitions() {
			delete(c.held, p.GetPartition())
		}
	}
}

// until handles what all consumers receive until a condition holds.
func (t *trial) until(condition func() bool) {
	for !condition() {
		select {
		case a := <-t.arrivals:
			a.handle()
		case <-t.ctx.Done():
			t.must("the check waits for a consumer", t.ctx.Err())
		}
	}
}

// waitFor is until for a consumer whose stream must not end before.
func (c *consumer) waitFor(condition func() bool) {
	c.t.until(func() bool { return c.end != nil || condition() })
	if !condition() {
		c.t.must("a consumer's stream", c.end)
	}
}

// next returns the next event.
func (c *consumer) next() *orisunpb.Delivery {
	c.waitFor(func() bool { return len(c.pending) > 0 })
	d := c.pending[0]
	c.pending = c.pending[1:]
	return d
}

// receive returns the next n events.
func (c *consumer) receive(n int) (got []*orisunpb.Delivery) {
	for range n {
		got = append(got, c.next())
	}
	return got
}

// take acknowledges the next n events and returns their ids.
func (c *consumer) take(n int) (ids []string) {
	for range n {
		d := c.next()
		c.acknowledge(d)
		ids = append(ids, d.GetEvent().GetEventId())
	}
	return ids
}

// again returns the second delivery of an event, which must be the next.
func (c *consumer) again(first *orisunpb.Delivery) *orisunpb.Delivery {
	d := c.next()
	if d.GetEvent().GetEventId() != first.GetEvent().GetEventId() || d.GetDeliveryCount() != 2 || d.GetReplayed() {
		c.t.errorf("after %v came %v, want it again with a delivery_count of 2", first, d)
	}
	return d
}

func (c *consumer) request(request *orisunpb.ConsumeRequest) {
	// A stream that has ended says why when it is read.
	if err := c.send(request); err != nil && !errors.Is(err, io.EOF) {
		c.t.must("a request of Consume", err)
	}
}

func (c *consumer) acknowledge(d *orisunpb.Delivery) {
	c.request(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{
		Acknowledge: &orisunpb.Acknowledgement{
			Partition: d.GetPartition(), Epoch: d.GetEpoch(), Positions: []*orisunpb.Position{d.GetEvent().GetPosition()},
		},
	}})
}

// through acknowledges an event and the earlier ones.
func (c *consumer) through(d *orisunpb.Delivery) {
	c.request(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Acknowledge{
		Acknowledge: &orisunpb.Acknowledgement{
			Partition: d.GetPartition(), Epoch: d.GetEpoch(), Through: d.GetEvent().GetPosition(),
		},
	}})
}

func (c *consumer) refuse(d *orisunpb.Delivery, reason string) {
	c.request(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Refuse{Refuse: &orisunpb.Refusal{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(), Reason: reason,
	}}})
}

func (c *consumer) delay(d *orisunpb.Delivery, by time.Duration) {
	c.request(&orisunpb.ConsumeRequest{Request: &orisunpb.ConsumeRequest_Delay{Delay: &orisunpb.Delay{
		Partition: d.GetPartition(), Epoch: d.GetEpoch(), Position: d.GetEvent().GetPosition(),
		Delay: durationpb.New(by),
	}}})
}

// finish closes the sending side: the server stores what was acknowledged and ends the stream with OK.
func (c *consumer) finish() {
	c.t.must("CloseSend", c.closeSend())
	if err := c.wait(); !errors.Is(err, io.EOF) {
		c.t.errorf("a stream that the client ends ends with %v", err)
	}
}

// wait returns what the stream ends with.
func (c *consumer) wait() error {
	c.t.until(func() bool { return c.end != nil })
	return c.end
}

// reached waits for a checkpoint; for the server's default time, where timeout is 0.
func (t *trial) reached(subscription string, at *orisunpb.Position, timeout time.Duration) error {
	in := &orisunpb.WaitForCheckpointRequest{Boundary: t.boundary, Subscription: subscription, Position: at}
	if timeout > 0 {
		in.Timeout = durationpb.New(timeout)
	}
	answer, err := t.durable.WaitForCheckpoint(t.ctx, in)
	if err == nil && answer.GetCheckpoint().GetGlobalId() < at.GetGlobalId() {
		t.errorf("WaitForCheckpoint returned %v before %v", answer.GetCheckpoint(), at)
	}
	return err
}

func (t *trial) parked(subscription string) []*orisunpb.ParkedEvent {
	answer, err := t.durable.ListParked(
		t.ctx, &orisunpb.ListParkedRequest{Boundary: t.boundary, Subscription: subscription})
	t.wantCode("ListParked", err, codes.OK)
	return answer.GetEvents()
}
