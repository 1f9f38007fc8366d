package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oexza/orisun/db"
	orisunpb "github.com/oexza/orisun/proto"
)

// dedupeWindow is as small as NATS allows. The expected sequence already keeps a message from standing twice, and what
// is in the window takes memory.
const dedupeWindow = 100 * time.Millisecond

// JetStream's codes: for a configuration that an existing stream cannot take, for more copies than there are nodes with
// room, and for a message that expects another one before it.
const (
	cannotUpdateStream    jetstream.ErrorCode = 10052
	noSuitablePeers       jetstream.ErrorCode = 10005
	insufficientResources jetstream.ErrorCode = 10023
	wrongLastSequence     jetstream.ErrorCode = 10071
)

// streamEnd is where a stream goes on: after the event at this position, whose message has, or would have, this
// sequence.
type streamEnd struct {
	at       position
	sequence uint64
}

// takeOver finds where the stream ends, and makes the stream if it is missing, or is not a copy of this log:
//
//   - It has messages, and the last one is an event that PostgreSQL has at that very place: it goes on after that
//     event, be it ahead of the checkpoint (the last owner died before it moved it) or behind it (JetStream lost the
//     latest messages).
//   - It has messages, and the last one is no such event (PostgreSQL was restored from an older backup, or another
//     store published into it): it is deleted and recreated.
//   - It is empty (new, purged, or all its messages have aged out): it goes on after the checkpoint.
//   - It is any of these, but stored nothing of what the last pipelines sent: its files are broken, which JetStream
//     notices once and never repairs. It answers nothing then, or that its end is another than the one it reports. It
//     is deleted and recreated, after the event with which it ended.
func (o *outbox) takeOver(ctx context.Context, js jetstream.JetStream) (streamEnd, error) {
	end, err := o.findEnd(ctx, js)
	if err != nil || end.at != o.recovery.end {
		o.recovery.reset(end.at)
		return end, err
	}
	if !o.recovery.isBroken() {
		return end, nil
	}
	o.recovery.reset(end.at)
	return o.recreate(ctx, js, end.at, errSilent)
}

func (o *outbox) findEnd(ctx context.Context, js jetstream.JetStream) (streamEnd, error) {
	stored, err := o.readCheckpoint(ctx)
	if err != nil {
		return streamEnd{}, fmt.Errorf("read the checkpoint: %w", err)
	}
	stream, err := o.openStream(ctx, js, stored)
	if err != nil {
		return streamEnd{}, fmt.Errorf("stream %s: %w", StreamName(o.boundary), err)
	}
	if err := o.closeHoles(ctx, stream); err != nil {
		return streamEnd{}, fmt.Errorf("look for lost messages: %w", err)
	}
	info := stream.CachedInfo()
	if info.State.Msgs == 0 {
		return streamEnd{at: stored, sequence: info.State.LastSeq}, nil
	}
	last, err := stream.GetLastMsgForSubject(ctx, Subjects(o.boundary))
	if err != nil {
		return streamEnd{}, fmt.Errorf("read the last message: %w", err)
	}
	if err := o.isLast(ctx, stream, last); err != nil {
		return streamEnd{}, err
	}
	at, err := o.locate(ctx, last)
	if err == nil {
		return streamEnd{at: at, sequence: info.State.LastSeq}, nil
	}
	if !errors.Is(err, errNoCopy) {
		return streamEnd{}, fmt.Errorf("find the event of the last message: %w", err)
	}
	return o.recreate(ctx, js, stored, err)
}

// recreate deletes the stream and makes one that goes on after the event at a position.
func (o *outbox) recreate(ctx context.Context, js jetstream.JetStream, after position, why error) (streamEnd, error) {
	level := slog.LevelWarn
	if o.logged.isRecreated {
		level = slog.LevelDebug // on a full disk, that helps no more than it did
	}
	o.logged.isRecreated = true
	o.log.Log(ctx, level, "recreating the stream", "stream", StreamName(o.boundary), "after", after.globalID, "error", why)
	stream, err := o.replaceStream(ctx, js, after)
	if err != nil {
		return streamEnd{}, err
	}
	return streamEnd{at: after, sequence: stream.CachedInfo().State.LastSeq}, nil
}

// isLast makes sure that nothing stands after what was read as the last message, but places of messages that were
// deleted.
func (o *outbox) isLast(ctx context.Context, stream jetstream.Stream, last *jetstream.RawStreamMsg) error {
	end := stream.CachedInfo().State.LastSeq
	if last.Sequence == end {
		return nil
	}
	if last.Sequence < end {
		_, err := stream.GetMsg(ctx, end)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read message %d: %w", end, err)
		}
	}
	return fmt.Errorf("the stream ends with message %d and with message %d: another publisher is still writing to it",
		end, last.Sequence)
}

// readCheckpoint is the last event at or before the checkpoint. A checkpoint beyond the end of the log, which no
// publisher wrote, shows nothing: then all is published again.
func (o *outbox) readCheckpoint(ctx context.Context) (position, error) {
	row, err := db.New().GetPublishedPosition(ctx, o.config.Database, o.boundary)
	if errors.Is(err, pgx.ErrNoRows) {
		o.checkpoint.stored = beginning
		return beginning, nil
	}
	if err != nil {
		return beginning, err
	}
	o.checkpoint.stored = position{row.TransactionID, row.GlobalID}
	last, err := db.New().GetLastPosition(ctx, o.config.Database, o.boundary)
	if err != nil {
		return beginning, err
	}
	if end := (position{last.TransactionID, last.GlobalID}); end.before(o.checkpoint.stored) {
		o.log.Warn("the checkpoint is beyond the end of the log; it counts for nothing", "checkpoint", row.GlobalID,
			"end", last.GlobalID)
		o.checkpoint.stored = beginning
		return beginning, nil
	}
	event, err := o.lastEvent(ctx, o.checkpoint.stored)
	if err != nil || event == nil {
		return beginning, err
	}
	return position{event.TransactionID, event.GlobalID}, nil
}

// errNoCopy says that the stream does not end with an event of this log.
var errNoCopy = errors.New("the stream is no copy of this boundary's log")

// locate is the position of a message's event. The error is errNoCopy where that is not an event of this log.
func (o *outbox) locate(ctx context.Context, message *jetstream.RawStreamMsg) (position, error) {
	if !comesFrom(message.Header, o.source) {
		return beginning, fmt.Errorf("%w: its last message comes from %q, this boundary's come from %q",
			errNoCopy, message.Header.Get(headerSource), o.source)
	}
	claimed, _, err := Decode(message.Header, message.Data)
	if err != nil {
		return beginning, fmt.Errorf("%w: %w", errNoCopy, err)
	}
	at := positionOf(claimed.GetPosition())
	stored, err := o.lastEvent(ctx, at)
	if err != nil {
		return beginning, err
	}
	if stored == nil || !isSame(claimed, stored) {
		return beginning, fmt.Errorf("%w: PostgreSQL has another event than %q at position {%d,%d}, or none",
			errNoCopy, claimed.GetEventId(), at.transactionID, at.globalID)
	}
	return at, nil
}

// isSame compares all that identifies an event. The time it was stored at distinguishes one that was saved once more
// after a restore.
func isSame(claimed *orisunpb.Event, stored *db.OrisunEvent) bool {
	return claimed.GetPosition().GetGlobalId() == stored.GlobalID &&
		claimed.GetPosition().GetTransactionId() == stored.TransactionID &&
		claimed.GetEventId() == stored.EventID && claimed.GetEventType() == stored.EventType &&
		claimed.GetDateCreated().AsTime().Equal(stored.DateCreated)
}

// lastEvent is the last event at or before a position, or nil.
func (o *outbox) lastEvent(ctx context.Context, at position) (*db.OrisunEvent, error) {
	events, err := db.New().GetMatchingEvents(ctx, o.config.Database, db.GetMatchingEventsParams{
		Boundary: o.boundary, Criteria: "[]", TransactionID: &at.transactionID, GlobalID: &at.globalID, Inclusive: true,
		Descending: true, Count: 1,
	})
	if err != nil || len(events) == 0 {
		return nil, err
	}
	return &events[0], nil
}

// openStream returns the stream with its present state, configured as it should be, or with fewer copies where there
// are too few nodes for more. A new one begins after the event at start.
func (o *outbox) openStream(ctx context.Context, js jetstream.JetStream, start position) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, StreamName(o.boundary))
	if err == nil {
		err = o.isKnown(ctx, js)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return o.createStream(ctx, js, start)
	}
	if err != nil {
		return nil, err
	}
	present := stream.CachedInfo().Config
	wanted := o.streamConfig(start)
	wanted.FirstSeq = present.FirstSeq
	if o.hasCopies(present.Replicas); sameStream(present, wanted) {
		return stream, nil
	}
	updated, err := js.UpdateStream(ctx, wanted)
	switch {
	case err == nil:
		o.hasCopies(wanted.Replicas)
		return updated, nil
	case isRefused(err, noSuitablePeers, insufficientResources) && present.Replicas < wanted.Replicas:
		return stream, nil
	case !isRefused(err, cannotUpdateStream):
		return nil, err
	}
	// It has another storage, or is sealed. It is but a copy.
	o.log.Warn("the stream cannot be configured as it should be; recreating it", "stream", StreamName(o.boundary),
		"error", err)
	return o.replaceStream(ctx, js, start)
}

// replaceStream makes a stream in the place of the one that is there, unless that is gone already.
func (o *outbox) replaceStream(ctx context.Context, js jetstream.JetStream, start position) (jetstream.Stream, error) {
	if err := js.DeleteStream(ctx, StreamName(o.boundary)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("delete the stream: %w", err)
	}
	stream, err := o.createStream(ctx, js, start)
	if err != nil {
		return nil, fmt.Errorf("recreate the stream: %w", err)
	}
	return stream, nil
}

// deleteStream deletes the stream of a boundary that is gone. Another node may have been first.
func (o *outbox) deleteStream(ctx context.Context) error {
	js, err := jetstream.New(o.config.NATS, jetstream.WithDefaultTimeout(apiLimit))
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, StreamName(o.boundary)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// isKnown makes sure that the stream is one that JetStream's leader knows; else the error is ErrStreamNotFound. The
// state of a stream is also reported by a node that knows it from before a majority of the nodes lost their stores, and
// no message is ever stored or read there. Which streams there are is known to the leader alone.
func (o *outbox) isKnown(ctx context.Context, js jetstream.JetStream) error {
	_, err := js.StreamNameBySubject(ctx, Subjects(o.boundary))
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	names := js.StreamNames(ctx) // of all: it may have been given other subjects
	for name := range names.Name() {
		if name == StreamName(o.boundary) {
			err = nil
		}
	}
	return cmp.Or(names.Err(), err)
}

// maintain gives the stream the copies that it lacks, and closes its holes.
func (o *outbox) maintain(ctx context.Context, settled position) (err error) {
	var stream jetstream.Stream
	if o.stream.hasFewCopies {
		stream, err = o.openStream(ctx, o.js, settled)
	} else {
		stream, err = o.js.Stream(ctx, StreamName(o.boundary))
	}
	if err != nil {
		return err
	}
	return o.closeHoles(ctx, stream)
}

// createStream makes the stream with as many copies as it should have, or with one where there are too few nodes.
func (o *outbox) createStream(ctx context.Context, js jetstream.JetStream, start position) (jetstream.Stream, error) {
	config := o.streamConfig(start)
	stream, err := js.CreateStream(ctx, config)
	if config.Replicas > 1 && isRefused(err, noSuitablePeers, insufficientResources) {
		config.Replicas = 1
		stream, err = js.CreateStream(ctx, config)
	}
	if err == nil {
		o.hasCopies(config.Replicas)
	}
	return stream, err
}

// hasCopies notes, and says, whether the stream has as many copies as it should.
func (o *outbox) hasCopies(copies int) {
	wanted := max(o.config.Stream.Replicas, 1)
	if few := copies < wanted; few != o.stream.hasFewCopies {
		o.stream.hasFewCopies = few
		if few {
			o.log.Warn("too few nodes for all copies of the stream; trying again", "copies", copies, "wanted", wanted)
		} else {
			o.log.Info("the stream has all of its copies", "copies", copies)
		}
	}
}

func isRefused(err error, codes ...jetstream.ErrorCode) bool {
	refused := new(jetstream.APIError)
	return errors.As(err, &refused) && slices.Contains(codes, refused.ErrorCode)
}

// streamConfig is what a stream should be. The first sequence makes a message's sequence that of its event plus one (as
// long as no global_id is missing): so a message that another life of the stream still has under way fits in at its own
// place only.
func (o *outbox) streamConfig(start position) jetstream.StreamConfig {
	limits := o.config.Stream
	return jetstream.StreamConfig{
		Name:        StreamName(o.boundary),
		Description: "A copy of the boundary's latest events, which Orisun publishes. PostgreSQL has all of them.",
		Subjects:    []string{Subjects(o.boundary)},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    unlimited(limits.MaxBytes),
		MaxMsgs:     unlimited(limits.MaxMessages),
		MaxAge:      limits.MaxAge,
		Replicas:    max(limits.Replicas, 1),
		Duplicates:  dedupeWindow,
		FirstSeq:    uint64(start.globalID + 2),
	}
}

// unlimited is how NATS writes no limit.
func unlimited(limit int64) int64 {
	if limit == 0 {
		return -1
	}
	return limit
}

// sameStream compares what streamConfig decides. NATS fills in the rest.
func sameStream(a, b jetstream.StreamConfig) bool {
	return a.Description == b.Description && len(a.Subjects) == 1 && a.Subjects[0] == b.Subjects[0] &&
		a.Storage == b.Storage && a.Retention == b.Retention && a.Discard == b.Discard &&
		a.MaxBytes == b.MaxBytes && a.MaxMsgs == b.MaxMsgs && a.MaxAge == b.MaxAge &&
		// direct reads may be answered by a copy that lags
		a.Replicas == b.Replicas && a.Duplicates == b.Duplicates && a.AllowDirect == b.AllowDirect
}
