package bench

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// rival saves into the one context that all rivals save into.
type rival struct {
	store    orisunpb.EventStoreClient
	boundary string
	context  string
	author   *author
	events   []*orisunpb.EventToSave
	last     *orisunpb.Position

	since   time.Time // of its last success, or of its start
	longest time.Duration
}

func startHot(ctx context.Context, s *Session, _ *measurement, clients int) (*load, error) {
	// No other workload uses this context, so the positions that they hold stay right.
	hot := s.run + "-hot"
	last, err := newest(ctx, s.store(0), s.config.Boundary, about(hot))
	if err != nil {
		return nil, err
	}
	rivals := make([]*rival, clients)
	return &load{
		clients: each(clients, func(i int) client {
			rivals[i] = &rival{
				store: s.store(i), boundary: s.config.Boundary, context: hot, author: s.author(i), events: newEvents(1), last: last,
			}
			return rivals[i].save
		}),
		starved: func() time.Duration {
			var longest time.Duration
			for _, r := range rivals {
				longest = max(longest, r.longest)
			}
			return longest
		},
	}, nil
}

// save tries once. After either outcome the client reads the context again, as a command does before it decides. That
// read is not part of the request. A command uses the same event id until it succeeds, as the protocol allows.
func (r *rival) save(ctx context.Context, _ time.Time) outcome {
	if r.since.IsZero() {
		r.since = time.Now()
	}
	if r.events[0].GetEventId() == "" {
		r.author.write(r.events[0], field{ContextKey, r.context})
	}
	_, err := r.store.SaveEvents(ctx, conditional(r.boundary, r.context, r.last, r.events))
	ended := time.Now()
	r.longest = max(r.longest, ended.Sub(r.since))
	last, readErr := newest(ctx, r.store, r.boundary, about(r.context))
	if readErr == nil {
		r.last = last
	}
	if err == nil {
		r.since, r.events[0] = ended, &orisunpb.EventToSave{}
		return outcome{events: 1, ended: ended, err: readErr}
	}
	if status.Code(err) != codes.AlreadyExists {
		return outcome{err: err}
	}
	return outcome{row: conflicts, ended: ended, err: readErr}
}
