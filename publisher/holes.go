package publisher

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// closeHoles lets a stream begin after the last place in its midst where events are missing, so that from its first
// message on it is the log. A copy whose files were deleted breaks what a majority relies on, the memory of each
// member: messages that only such copies had are skipped then, and what is published goes on behind them. No
// member refuses it, as the sequence fits.
//
// Where messages were deleted and stand again behind, there is no hole: the message after the place names the one
// before it.
func (o *outbox) closeHoles(ctx context.Context, stream jetstream.Stream) error {
	deleted := stream.CachedInfo().State.NumDeleted
	if deleted == o.stream.deleted {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return err
	}
	gone := info.State.Deleted
	for end := len(gone); end > 0; {
		begin := end - 1
		for begin > 0 && gone[begin-1]+1 == gone[begin] {
			begin--
		}
		before, after := gone[begin]-1, gone[end-1]+1
		connected := after > info.State.LastSeq // what lacks at the end is published again
		if !connected {
			if connected, err = o.connects(ctx, stream, before, after); err != nil {
				return err
			}
		}
		if !connected {
			o.log.Warn("JetStream lost messages in the midst of the stream; it begins after them now",
				"stream", StreamName(o.boundary), "lost", end-begin, "begins", after)
			return stream.Purge(ctx, jetstream.WithPurgeSequence(after))
		}
		end = begin
	}
	o.stream.deleted = deleted
	return nil
}

// connects reports whether the message with the one sequence is that of the log's next event after the other's.
func (o *outbox) connects(ctx context.Context, stream jetstream.Stream, before, after uint64) (bool, error) {
	first, err := stream.GetMsg(ctx, before)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil // it is too old by now, so the stream begins later
	}
	if err != nil {
		return false, err
	}
	second, err := stream.GetMsg(ctx, after)
	if err != nil {
		return false, err
	}
	event, _, err := Decode(first.Header, first.Data)
	if err != nil {
		return false, nil //nolint:nilerr // none of ours, so nothing follows it
	}
	_, previous, err := Decode(second.Header, second.Data)
	return err == nil && previous == event.GetPosition().GetGlobalId(), nil
}
