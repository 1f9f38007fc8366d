package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/oexza/orisun/client/internal/wire"
)

// consumer is one stream. A delivery is queued, handled by one of at most options.concurrency goroutines, and settled.
type consumer struct {
	options consumeOptions
	log     *slog.Logger
	handle  func(context.Context, Delivery) error
	stream  grpc.ClientStream
	ctx     context.Context // of handlers: it ends with the stream, or when the time to stop is over
	end     context.CancelCauseFunc
	running sync.WaitGroup

	sending sync.Mutex // one message at a time

	mu       sync.Mutex
	began    bool
	stopping bool
	late     bool // a handler was, so that its event is not settled
	handling int
	queue    []*work         // not begun
	inHand   map[int64]*work // queued or begun, by global_id
}

// work is a delivery until it is settled.
type work struct {
	delivery *wire.Delivery
	begun    bool
	ctx      context.Context
	end      context.CancelCauseFunc
	again    *wire.Delivery // in a later epoch, while the handler of this one has not returned
}

// run returns nil when ctx has ended and the server has stored what was settled. It returns after the last handler.
func (s *consumer) run(ctx context.Context, c *Client, start *wire.ConsumeStart) error {
	streamCtx, endStream := context.WithCancelCause(context.WithoutCancel(ctx))
	s.ctx, s.end = context.WithCancelCause(streamCtx)
	defer s.running.Wait()
	defer endStream(ErrNotHeld)
	s.running.Go(func() { s.stopAfter(ctx, streamCtx, endStream) })
	var err error
	s.stream, err = c.conn.NewStream(streamCtx,
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, subscriptions+"Consume")
	if err != nil {
		return err
	}
	s.send(&wire.ConsumeRequest{Request: &wire.ConsumeRequest_Start{Start: start}})
	if header, err := s.stream.Header(); err == nil {
		c.session.renew(header)
	}
	for {
		var response wire.ConsumeResponse
		err := s.stream.RecvMsg(&response)
		switch {
		case err == nil:
			s.receive(&response)
		case !errors.Is(err, io.EOF):
			return err
		default:
			return s.stopped()
		}
	}
}

// stopped is the result of a stream that the server ended well, which it does when this side has sent all.
func (s *consumer) stopped() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late {
		return fmt.Errorf("%w: their events are delivered again", ErrStopTime)
	}
	return nil
}

// stopAfter stops the consumer when ctx ends. Before the stream has begun, it ends the stream.
func (s *consumer) stopAfter(ctx, stream context.Context, endStream context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-stream.Done():
		return
	}
	if !s.stop() {
		endStream(ErrNotHeld)
	} else if pause(stream, s.options.stopTime) == nil {
		s.end(ErrStopTime)
	}
}

// stop lets handlers finish. What is queued is delivered to another consumer.
func (s *consumer) stop() (began bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for _, w := range s.queue {
		w.end(nil)
	}
	s.queue = nil
	if s.began {
		s.finish()
	}
	return s.began
}

// finish says that nothing more is settled, after the last handler. The caller holds the lock.
func (s *consumer) finish() {
	if s.handling > 0 {
		return
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.stream.CloseSend() // RecvMsg returns why it fails
}

func (s *consumer) send(request *wire.ConsumeRequest) {
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.stream.SendMsg(request) // RecvMsg returns why it fails
}

func (s *consumer) receive(response *wire.ConsumeResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = true
	for _, delivery := range response.GetDeliveries().GetDeliveries() {
		s.take(delivery)
	}
	s.begin()
	for _, revoked := range response.GetRevoked().GetPartitions() {
		s.revoke(revoked.GetPartition(), revoked.GetEpoch())
	}
	if caughtUp := response.GetCaughtUp(); caughtUp != nil && s.options.caughtUp != nil {
		s.options.caughtUp(positionFrom(caughtUp.GetPosition()))
	}
}

// take queues a delivery. One whose event is in hand comes after its ack_timeout: the event's settlement still counts.
func (s *consumer) take(delivery *wire.Delivery) {
	id := delivery.GetEvent().GetPosition().GetGlobalId()
	if w := s.inHand[id]; w != nil {
		if w.delivery.GetEpoch() != delivery.GetEpoch() {
			w.again = delivery
		}
		return
	}
	if s.stopping {
		return
	}
	w := &work{delivery: delivery}
	w.ctx, w.end = context.WithCancelCause(s.ctx)
	s.inHand[id] = w
	s.queue = append(s.queue, w)
}

// revoke drops what is queued of a partition, and ends the contexts of its handlers.
func (s *consumer) revoke(partition uint32, epoch int64) {
	for id, w := range s.inHand {
		if again := w.again; again != nil && again.GetPartition() == partition && again.GetEpoch() <= epoch {
			w.again = nil
		}
		if w.delivery.GetPartition() != partition || w.delivery.GetEpoch() > epoch {
			continue
		}
		w.end(ErrNotHeld)
		if !w.begun {
			delete(s.inHand, id)
		}
	}
}

// begin begins handlers as long as fewer than options.concurrency run.
func (s *consumer) begin() {
	for s.handling < s.options.concurrency && len(s.queue) > 0 {
		w := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		if w.ctx.Err() != nil { // revoked
			continue
		}
		w.begun = true
		s.handling++
		s.running.Go(func() { s.process(w) })
	}
}

// errGoexit refuses the event of a handler that did not return, such as one that called t.FailNow.
var errGoexit = errors.New("the handler ended its goroutine by runtime.Goexit")

// process handles an event and settles it, also when the handler ends the goroutine.
func (s *consumer) process(w *work) {
	d, err := w.delivery, errGoexit
	defer func() { s.settle(w, err) }()
	err = s.call(w.ctx, Delivery{
		Event: eventFrom(d.GetEvent()), Partition: int(d.GetPartition()),
		Count: int(d.GetDeliveryCount()), Replayed: d.GetReplayed(),
	})
}

// settle sends what the handler returned, and begins the next handlers.
func (s *consumer) settle(w *work, err error) {
	d := w.delivery
	settled := err == nil || w.ctx.Err() == nil // an error after the context's end is no fault of the event
	if settled {
		s.send(settlement(d, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = s.late || !settled && errors.Is(context.Cause(w.ctx), ErrStopTime)
	w.end(nil)
	s.handling--
	delete(s.inHand, d.GetEvent().GetPosition().GetGlobalId())
	if w.again != nil {
		s.take(w.again)
	}
	if s.stopping {
		s.finish()
		return
	}
	s.begin()
}

// maxStack is how much of a panic's stack becomes the reason of a refusal.
const maxStack = 4096

// call makes a panic of the handler an error.
func (s *consumer) call(ctx context.Context, d Delivery) (err error) {
	defer func() {
		if r := recover(); r != nil {
			stack := debug.Stack()
			err = fmt.Errorf("the handler panicked: %v\n%s", r, stack[:min(len(stack), maxStack)])
			s.log.ErrorContext(ctx, "orisun: a handler panicked", "event", d.ID, "position", d.Position.String(), "error", err)
		}
	}()
	return s.handle(ctx, d)
}

// settlement acknowledges, delays or refuses a delivery.
func settlement(d *wire.Delivery, err error) *wire.ConsumeRequest {
	partition, epoch, position := d.GetPartition(), d.GetEpoch(), d.GetEvent().GetPosition()
	var later *DelayError
	switch {
	case err == nil:
		return &wire.ConsumeRequest{Request: &wire.ConsumeRequest_Acknowledge{Acknowledge: &wire.Acknowledgement{
			Partition: partition, Epoch: epoch, Positions: []*wire.Position{position},
		}}}
	case errors.As(err, &later):
		return &wire.ConsumeRequest{Request: &wire.ConsumeRequest_Delay{Delay: &wire.Delay{
			Partition: partition, Epoch: epoch, Position: position, Delay: durationpb.New(later.Delay),
		}}}
	default:
		return &wire.ConsumeRequest{Request: &wire.ConsumeRequest_Refuse{Refuse: &wire.Refusal{
			Partition: partition, Epoch: epoch, Position: position, Reason: strings.ToValidUTF8(err.Error(), "\uFFFD"),
		}}}
	}
}
