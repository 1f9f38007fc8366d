package client

import (
	"context"
	"fmt"
	"iter"

	"github.com/oexza/orisun/client/internal/wire"
)

// DefaultPageSize is how many events [Client.Get] reads at once, and MaxPageSize the most that a server returns.
const (
	DefaultPageSize = 1000
	MaxPageSize     = 10_000
)

// GetOption changes what [Client.Get] reads.
type GetOption func(*getOptions)

type getOptions struct {
	from     *Position
	after    *Position
	backward bool
	limited  bool
	limit    int
	page     int
}

// After begins after a position, that event excluded.
func After(p Position) GetOption { return func(o *getOptions) { o.after = &p } }

// From begins at a position, that event included.
func From(p Position) GetOption { return func(o *getOptions) { o.from = &p } }

// Backward reads from the latest event to the first one.
func Backward() GetOption { return func(o *getOptions) { o.backward = true } }

// Limit ends after n events; 0 reads none.
func Limit(n int) GetOption { return func(o *getOptions) { o.limited, o.limit = true, n } }

// PageSize reads n events at once, at most [MaxPageSize]: fewer where events are large.
func PageSize(n int) GetOption { return func(o *getOptions) { o.page = n } }

// Get returns the events of a boundary that match the criteria, in the order of their positions, page by page. Nil
// criteria match every event. An error is the last element; breaking off the loop ends the reading.
//
//	for event, err := range c.Get(ctx, "bank", client.Any(client.Where("account", "alice"))) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// Errors: [ErrInvalid], [ErrNotFound], [ErrPermissionDenied], [ErrUnavailable]; [ErrExhausted] where a page is larger
// than the server sends ([PageSize] makes it smaller).
func (c *Client) Get(
	ctx context.Context, boundary string, criteria Criteria, opts ...GetOption,
) iter.Seq2[Event, error] {
	o := getOptions{page: DefaultPageSize}
	for _, option := range opts {
		option(&o)
	}
	return func(yield func(Event, error) bool) {
		if err := o.check(); err != nil {
			yield(Event{}, err)
			return
		}
		if o.limited && o.limit == 0 {
			return
		}
		query, err := criteria.wire()
		if err != nil {
			yield(Event{}, err)
			return
		}
		in := &wire.GetEventsRequest{Boundary: boundary, Query: query, Count: uint32(o.page)}
		if o.backward {
			in.Direction = wire.Direction_DESC
		}
		if o.after != nil {
			in.AfterPosition = o.after.wire()
		}
		if o.from != nil {
			in.FromPosition = o.from.wire()
		}
		for left := o.limit; ; {
			if o.limited {
				in.Count = uint32(min(o.page, left))
			}
			page, err := c.page(ctx, in)
			if err != nil {
				yield(Event{}, err)
				return
			}
			for _, event := range page {
				if !yield(eventFrom(event), nil) {
					return
				}
			}
			left -= len(page)
			if len(page) < int(in.GetCount()) || o.limited && left == 0 {
				return
			}
			in.FromPosition, in.AfterPosition = nil, page[len(page)-1].GetPosition()
		}
	}
}

func (o *getOptions) check() error {
	switch {
	case o.after != nil && o.from != nil:
		return fmt.Errorf("%w: After and From exclude each other", ErrInvalid)
	case o.limit < 0:
		return fmt.Errorf("%w: Limit(%d) is negative", ErrInvalid, o.limit)
	case o.page < 1 || o.page > MaxPageSize:
		return fmt.Errorf("%w: PageSize(%d) is not between 1 and %d", ErrInvalid, o.page, MaxPageSize)
	}
	return nil
}

func (c *Client) page(ctx context.Context, in *wire.GetEventsRequest) ([]*wire.Event, error) {
	var out wire.GetEventsResponse
	if err := c.call(ctx, eventStore+"GetEvents", repeat, in, &out); err != nil {
		return nil, err
	}
	return out.GetEvents(), nil
}
