package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// maxWindow is the largest window of a server.
const maxWindow = 10_000

// DefaultStopTime is how long [Client.Consume] lets handlers finish after its context has ended.
const DefaultStopTime = 30 * time.Second

// ErrNotHeld is the cause (context.Cause) of the end of a handler's context when another consumer may process the
// event: the connection broke, or the event's partition went to another consumer.
var ErrNotHeld = errors.New("the consumer no longer holds the event's partition")

// ErrStopTime is the error of [Client.Consume] when handlers did not finish within the time of [StopTime].
var ErrStopTime = errors.New("handlers did not finish in time")

// Delivery is an event to process.
type Delivery struct {
	Event
	// Count is 1 for the first delivery, as far as this consumer knows: after the partition moved it begins with 1 again.
	Count int
	// Replayed: the event was parked.
	Replayed  bool
	Partition int
}

// DelayError is an error of a handler that is no refusal: the event is delivered again after the time. See [Later].
type DelayError struct{ Delay time.Duration }

func (e *DelayError) Error() string { return "deliver again after " + e.Delay.String() }

// Later is what a handler returns to get the event again after a time, at most 1 hour. It does not count as a refusal.
// Without a partition key, others come meanwhile; with one, those of other keys.
func Later(delay time.Duration) error { return &DelayError{delay} }

// ConsumeOption changes how [Client.Consume] works.
type ConsumeOption func(*consumeOptions)

type consumeOptions struct {
	concurrency, window int
	name                string
	stopTime            time.Duration
	caughtUp            func(Position)
}

// Concurrency handles up to n events at a time; 1 otherwise. With a partition key they have different keys, so each key
// keeps its order. Without one they are handled out of order.
func Concurrency(n int) ConsumeOption { return func(o *consumeOptions) { o.concurrency = n } }

// Window lets the server send up to n events ahead of their settlement, at most 10,000; as many as [Concurrency]
// otherwise. A larger one is faster where events are small and handlers fast. Without a partition key, an event that is
// refused or delayed comes again behind those that were sent.
func Window(n int) ConsumeOption { return func(o *consumeOptions) { o.window = n } }

// ConsumerName is what the consumer is called in lists. It need not be unique.
func ConsumerName(name string) ConsumeOption { return func(o *consumeOptions) { o.name = name } }

// StopTime is how long handlers may take to finish after the context of [Client.Consume] has ended; [DefaultStopTime]
// otherwise. After it their contexts end.
func StopTime(limit time.Duration) ConsumeOption {
	return func(o *consumeOptions) { o.stopTime = limit }
}

// OnCaughtUp is called when no events wait and nothing more is stored, with the last event that was looked at. It must
// return soon.
func OnCaughtUp(caughtUp func(Position)) ConsumeOption {
	return func(o *consumeOptions) { o.caughtUp = caughtUp }
}

func (o *consumeOptions) check() error {
	switch {
	case o.concurrency < 1 || o.concurrency > maxWindow:
		return fmt.Errorf("%w: Concurrency(%d) is not between 1 and %d", ErrInvalid, o.concurrency, maxWindow)
	case o.window > maxWindow:
		return fmt.Errorf("%w: Window(%d) is more than %d", ErrInvalid, o.window, maxWindow)
	case o.window < o.concurrency:
		return fmt.Errorf("%w: Window(%d) is smaller than Concurrency(%d)", ErrInvalid, o.window, o.concurrency)
	case o.stopTime <= 0:
		return fmt.Errorf("%w: StopTime(%s): the time must be positive", ErrInvalid, o.stopTime)
	}
	return nil
}

// Consume processes the events of a durable subscription ([Client.CreateSubscription]), together with all other
// consumers of it: each event at least once, those with the same partition key in order.
//
//	err := c.Consume(ctx, "orders", "mailer", func(ctx context.Context, d client.Delivery) error {
//		return sendMail(ctx, d.Event)
//	}, client.Concurrency(8))
//
// When handle returns nil, the event is acknowledged. Its error refuses the event, with the error's text as the
// reason: it is delivered again after 1 s, 2 s and so on, and parked after [Subscription.MaxRefusals]. [Later] delays
// it. A panic of handle is an error with the stack, so that one event does not end all consumers again and again.
//
// The context of handle ends when another consumer may get the event ([ErrNotHeld]): what handle returns then has no
// effect. An event can therefore be processed twice, and handle should be idempotent, by the event's ID or Position.
//
// When ctx ends, Consume takes no more events, lets those in hand finish, and returns nil once the server has stored
// what they acknowledged; without a connection at that time, it returns the context's error. When the connection breaks
// or a node ends, it consumes on another node. It ends with an error that does not heal, such as [ErrNotFound] when the
// subscription is deleted.
func (c *Client) Consume(
	ctx context.Context, boundary, subscription string,
	handle func(context.Context, Delivery) error, opts ...ConsumeOption,
) error {
	o := consumeOptions{concurrency: 1, stopTime: DefaultStopTime}
	for _, option := range opts {
		option(&o)
	}
	if o.window == 0 {
		o.window = o.concurrency
	}
	if err := o.check(); err != nil {
		return err
	}
	if handle == nil {
		return fmt.Errorf("%w: Consume needs a function", ErrInvalid)
	}
	start := &wire.ConsumeStart{
		Boundary: boundary, Subscription: subscription, Window: uint32(o.window), ConsumerName: o.name,
	}
	for attempt := 0; ; attempt++ {
		began, err := c.consume(ctx, start, handle, o)
		if err == nil || errors.Is(err, ErrStopTime) {
			return err
		}
		if began {
			attempt = 0
		}
		failed := callError("Consume", start, err)
		if ctx.Err() == nil && failed.heals() {
			c.log.InfoContext(ctx, "orisun: consumer broke, consuming again", "boundary", boundary,
				"subscription", subscription, "error", err)
			if failed.ended = pause(ctx, failed.pause(attempt)); failed.ended == nil {
				continue
			}
		}
		return failed.known()
	}
}

// consume is a consumer until its stream ends. It returns nil when ctx has ended and the server has stored what was
// settled.
func (c *Client) consume(
	ctx context.Context, start *wire.ConsumeStart, handle func(context.Context, Delivery) error, o consumeOptions,
) (began bool, _ error) {
	err := c.authenticated(ctx, func(ctx context.Context) (bool, error) {
		s := &consumer{options: o, log: c.log, handle: handle, inHand: make(map[int64]*work)}
		err := s.run(ctx, c, start)
		began = s.began
		return began, err
	})
	return began, err
}
