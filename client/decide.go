package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/oexza/orisun/client/internal/wire"
)

// DefaultAttempts is how often [Decide] decides before it gives up.
const DefaultAttempts = 100

// The pause before another attempt. Retries have priority on the server, so short pauses suffice.
const (
	firstConflictPause = time.Millisecond
	maxConflictPause   = 50 * time.Millisecond
)

// DecideOption changes how [Decide] works.
type DecideOption func(*decideOptions)

type decideOptions struct {
	attempts int
	page     int
}

// Attempts limits how often Decide decides; [DefaultAttempts] otherwise.
func Attempts(n int) DecideOption { return func(o *decideOptions) { o.attempts = n } }

// ContextPageSize is the [PageSize] of the reads.
func ContextPageSize(n int) DecideOption { return func(o *decideOptions) { o.page = n } }

// Decision is what [Decide] returns.
type Decision[S any] struct {
	// State is what decide saw: Events are not folded into it.
	State S
	// Events are those that were saved, as a reader finds them, except for SavedAt; none if decide returned none.
	Events []Event
	// Position is that of the last event saved or, if none was, of the last one seen.
	Position Position
	// Attempts is how often decide was called.
	Attempts int
}

// Decide makes a decision that stays correct whatever other clients save at the same time. It reads the events that
// match the context, folds them into a state, calls decide, and saves the events that decide returns, unless an event
// of the context was saved meanwhile. In that case it reads and folds only the new events and decides again, with the
// same event ids.
//
// The state begins as the zero value of S, or as an empty map, and fold changes it. decide must not change the state,
// and may be called several times, so it must have no side effects. Its error, like that of fold, ends Decide and is
// returned as it is. If decide returns no events, nothing is saved.
//
// A command that runs again after a restart of the program finds its own events in the state. decide can then return
// none, or the same events with the same ids ([NewEvent.ID]), which are stored once.
//
// The whole decision ends with the context's deadline or, without one, after [DefaultRetryTime] ([WithRetryTime]).
//
// Further errors: those of [Client.Get] and [Client.Save], and [ErrTooManyConflicts] with the last *[ConflictError].
func Decide[S any](
	ctx context.Context, c *Client, boundary string, context Criteria,
	fold func(state *S, event Event) error, decide func(state S) ([]NewEvent, error), opts ...DecideOption,
) (Decision[S], error) {
	o := decideOptions{attempts: DefaultAttempts, page: DefaultPageSize}
	for _, option := range opts {
		option(&o)
	}
	if fold == nil || decide == nil {
		return Decision[S]{}, fmt.Errorf("%w: Decide needs two functions, fold and decide", ErrInvalid)
	}
	if o.attempts < 1 {
		return Decision[S]{}, fmt.Errorf("%w: Attempts(%d): at least one is needed", ErrInvalid, o.attempts)
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	decision := Decision[S]{State: initial[S]()}
	var ids []string
	for {
		for event, err := range c.Get(ctx, boundary, context, After(decision.Position), PageSize(o.page)) {
			if err != nil {
				return decision, err
			}
			if err := fold(&decision.State, event); err != nil {
				return decision, err
			}
			decision.Position = event.Position
		}
		decision.Attempts++
		events, err := decide(decision.State)
		if err != nil || len(events) == 0 {
			return decision, err
		}
		encoded, err := encodeDecision(events, &ids)
		if err != nil {
			return decision, err
		}
		last, err := c.save(ctx, boundary, IfUnchanged(context, decision.Position), encoded)
		var conflict *ConflictError
		switch {
		case err == nil:
			decision.Events, decision.Position = savedEvents(encoded, last), last
			return decision, nil
		case !errors.As(err, &conflict):
			return decision, err
		case decision.Attempts >= o.attempts:
			return decision, fmt.Errorf("%w: %d attempts: %w", ErrTooManyConflicts, decision.Attempts, err)
		case conflict.Actual.GlobalID < 0 && !decision.Position.IsStart():
			// The event seen last is no longer stored: the boundary was restored from a backup, or created again.
			decision = Decision[S]{State: initial[S](), Attempts: decision.Attempts}
		}
		if err := pause(ctx, jittered(decision.Attempts-1, firstConflictPause, maxConflictPause)); err != nil {
			return decision, errors.Join(err, conflict)
		}
	}
}

// initial is the zero value of S, but an empty map where S is a map, so that a fold can write to it.
func initial[S any]() (state S) {
	if t := reflect.TypeFor[S](); t.Kind() == reflect.Map {
		reflect.ValueOf(&state).Elem().Set(reflect.MakeMap(t))
	}
	return state
}

// FoldData makes a fold for [Decide] of a function that gets each event's type, and its data as a D.
func FoldData[S, D any](fold func(state *S, eventType string, data D)) func(state *S, event Event) error {
	return func(state *S, event Event) error {
		var data D
		err := event.Decode(&data)
		if err == nil {
			fold(state, event.Type, data)
		}
		return err
	}
}

// Count is a fold for [Decide] whose state is how many events the context has: 0 where a username is free, say.
func Count(n *int, _ Event) error {
	*n++
	return nil
}

// encodeDecision gives events without an id the same one in each attempt.
func encodeDecision(events []NewEvent, ids *[]string) ([]*wire.EventToSave, error) {
	encoded := make([]*wire.EventToSave, len(events))
	for i, event := range events {
		if len(*ids) == i {
			*ids = append(*ids, newID(time.Now()))
		}
		if event.ID == "" {
			event.ID = (*ids)[i]
		}
		var err error
		if encoded[i], err = event.wire(); err != nil {
			return nil, err
		}
	}
	return encoded, nil
}

// savedEvents are the events of one save: their positions follow from the last one.
func savedEvents(saved []*wire.EventToSave, last Position) []Event {
	events := make([]Event, len(saved))
	for i, event := range saved {
		events[i] = Event{
			ID: event.GetEventId(), Type: event.GetEventType(),
			Data: json.RawMessage(event.GetData()), Metadata: json.RawMessage(event.GetMetadata()),
			Position: Position{last.TransactionID, last.GlobalID - int64(len(saved)-1-i)},
		}
	}
	return events
}
