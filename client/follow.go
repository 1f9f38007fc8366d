package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/grpc"

	"github.com/oexza/orisun/client/internal/wire"
)

// FollowOption changes where [Client.Follow] begins, and under which name.
type FollowOption func(*followOptions)

type followOptions struct {
	after Position
	now   bool
	name  string
}

// Since begins after a position, such as a checkpoint. Without it a subscription begins with the first event.
func Since(p Position) FollowOption { return func(o *followOptions) { o.after, o.now = p, false } }

// SinceNow begins with the first event that is stored after the loop has begun.
func SinceNow() FollowOption { return func(o *followOptions) { o.now = true } }

// As gives the subscription a name that is exclusive in the boundary: of all subscriptions with it, one gets events
// and the others stand by, so that a projection has one writer on several machines.
func As(name string) FollowOption { return func(o *followOptions) { o.name = name } }

// Follow returns the events of a boundary that match the criteria: the stored ones, then new ones as they are saved, in
// order, each once. When the connection breaks or a node ends, it resumes after its last event, on another node if need
// be. It ends when the loop breaks off, with the context's error, or with an error that a retry does not heal; an error
// is the last element.
//
// The loop's body may be slow: the server reads the next events when the loop does, and buffers none in memory.
func (c *Client) Follow(
	ctx context.Context, boundary string, criteria Criteria, opts ...FollowOption,
) iter.Seq2[Event, error] {
	var o followOptions
	for _, option := range opts {
		option(&o)
	}
	return func(yield func(Event, error) bool) {
		query, err := criteria.wire()
		if err != nil {
			yield(Event{}, err)
			return
		}
		in := &wire.CatchUpSubscribeToEventStoreRequest{Boundary: boundary, Query: query, SubscriberName: o.name}
		if !o.now {
			in.AfterPosition = o.after.wire()
		}
		broken := false
		deliver := func(event *wire.Event) bool {
			if !yield(eventFrom(event), nil) {
				broken = true
				return false
			}
			in.AfterPosition = event.GetPosition()
			return true
		}
		for attempt := 0; ; attempt++ {
			before := in.GetAfterPosition()
			err := c.authenticated(ctx, func(ctx context.Context) (bool, error) { return c.subscribe(ctx, in, deliver) })
			if broken {
				return
			}
			if before != in.GetAfterPosition() {
				attempt = 0
			}
			failed := callError("CatchUpSubscribeToEvents", in, err)
			if ctx.Err() == nil && failed.heals() {
				c.log.InfoContext(ctx, "orisun: subscription broke, resuming", "boundary", boundary, "subscriber", o.name,
					"after", positionFrom(in.GetAfterPosition()).String(), "error", err)
				if pause(ctx, failed.pause(attempt)) == nil {
					continue
				}
			}
			if ctx.Err() != nil {
				yield(Event{}, ctx.Err())
			} else {
				yield(Event{}, failed.known())
			}
			return
		}
	}
}

// subscribe delivers the events of one stream until it ends, or deliver returns false. "Now" is made a position once,
// so that a connection that breaks before the first event loses nothing.
func (c *Client) subscribe(
	ctx context.Context, in *wire.CatchUpSubscribeToEventStoreRequest, deliver func(*wire.Event) bool,
) (began bool, _ error) {
	if in.GetAfterPosition() == nil {
		latest := &wire.GetEventsRequest{Boundary: in.GetBoundary(), Direction: wire.Direction_DESC, Count: 1}
		var page wire.GetEventsResponse
		if err := c.invoke(ctx, eventStore+"GetEvents", latest, &page); err != nil {
			return false, err
		}
		in.AfterPosition = Position{}.wire()
		if len(page.GetEvents()) > 0 {
			in.AfterPosition = page.GetEvents()[0].GetPosition()
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, eventStore+"CatchUpSubscribeToEvents")
	if err != nil {
		return false, err
	}
	if err := errors.Join(stream.SendMsg(in), stream.CloseSend()); err != nil {
		// What the server said stands in its status.
		if err := stream.RecvMsg(&wire.Event{}); err != nil {
			return false, err
		}
		return false, err
	}
	if header, err := stream.Header(); err == nil {
		c.session.renew(header)
	}
	for {
		var event wire.Event
		if err := stream.RecvMsg(&event); err != nil {
			return began, err
		}
		began = true
		if !deliver(&event) {
			return began, nil
		}
	}
}

// Handle is [Client.Follow] with a function: it returns the first error of handle, or why the subscription ended.
func (c *Client) Handle(
	ctx context.Context, boundary string, criteria Criteria,
	handle func(context.Context, Event) error, opts ...FollowOption,
) error {
	if handle == nil {
		return fmt.Errorf("%w: Handle needs a function", ErrInvalid)
	}
	for event, err := range c.Follow(ctx, boundary, criteria, opts...) {
		if err != nil {
			return err
		}
		if err := handle(ctx, event); err != nil {
			return err
		}
	}
	return nil // the loop ends by the returns above
}
