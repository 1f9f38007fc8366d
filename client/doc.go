// Package client is the Go client of Orisun, an event store for decisions that must stay correct.
//
// # Connect
//
// [Dial] takes the URL of a server, or of several nodes, and returns a [Client] for the whole program:
//
//	c, err := client.Dial("grpc://admin:changeit@localhost:5005") // grpcs: with TLS
//	…
//	defer c.Close()
//
// Dial does not connect, so an error is one of the URL or of a file; [Client.Ping] finds out whether a server answers.
// The client sends the password once and a token after that. Calls go to the nodes that are healthy, in turns. A call
// that meets a node, or PostgreSQL, that is away is repeated until its context's deadline or, without one, for
// [DefaultRetryTime]. Saves are idempotent, so that is safe; only calls that are not (creating a user, say) are made
// once.
//
// # Boundaries and positions
//
// A boundary is a named domain of events, such as "bank": positions, ids and contexts never cross it. A new server has
// orisun_test_1 and orisun_test_2; [Client.CreateBoundary] creates others. A [Position] is the place of an event in its
// boundary, in the order of commits; its zero value is before the first event.
//
// # Decide
//
// A command is decided on the events that its rules look at: its context. [Decide] reads them, folds them into a
// state, lets a function decide, and saves the new events if nothing in the context has changed meanwhile. Otherwise
// it reads what is new and decides again:
//
//	account := client.Any(client.Where("account", "alice"))
//	_, err := client.Decide(ctx, c, "bank", account,
//		func(balance *int64, e client.Event) error {
//			var moved struct{ Amount int64 }
//			err := e.Decode(&moved)
//			*balance += moved.Amount
//			return err
//		},
//		func(balance int64) ([]client.NewEvent, error) {
//			if balance < 30 {
//				return nil, errors.New("the balance does not suffice")
//			}
//			return []client.NewEvent{{Type: "Withdrawn", Data: map[string]any{"account": "alice", "amount": -30}}}, nil
//		})
//
// The first function is the fold: it is called for each event of the context, in order, and changes the state. The
// second one decides on that state; an error of it refuses the command, and nothing is saved. Both are plain Go and
// tested without a server. [FoldData] makes a fold of a function that gets an event's data decoded, [Count] is one
// that counts, and [One] is a single event to save. Where the latest events are all that a decision needs,
// [Client.Latest] and [Client.Save] do.
//
// [Criteria] say which events are the context, by fields of their data: [Where] and [Type] make a [Criterion], whose
// tags must all match, [Any] joins several, of which one must match, and [AnyField] looks for a value in several
// fields. Nil criteria are all events of the boundary. What does not match never conflicts, so a narrow context is a
// fast one. Queries need indexes: [Client.Indexes] advises, [Client.CreateIndex] creates.
//
// # Read, save, follow
//
// [Client.Get] iterates over all events that match, whatever their number. [Client.Latest] returns the last event of
// each criterion. [Client.Save] stores events [Always] or [IfUnchanged]. [Client.Follow] iterates over what is stored
// and then over what comes, each event once; it resumes after its last event, on another node if need be, and ends
// only with its context or an error that does not heal. A program that is started again passes the position of the last
// event it has processed to [Since].
//
// # Project
//
// Package projection, a module of its own, applies events to tables of your PostgreSQL and stores that position in the
// same transaction, so that each event is applied exactly once.
//
// # Consume
//
// A durable subscription is for work with other systems, such as sending mail. It needs no position of the caller's:
// the server stores what was acknowledged, and divides the events among all consumers. [Client.CreateSubscription]
// creates one, and [Client.Consume] calls a function for each event, several at a time where their keys differ. Its
// error refuses the event, which comes again and is parked in the end ([Client.ListParked]).
// [Client.WaitForCheckpoint] waits until a save's events are processed.
//
// # Events
//
// [NewEvent.Data] is what encoding/json makes a JSON object of, and [Event.Decode] reads it back. A [Registry] maps
// event types to Go types.
//
// # Errors
//
// errors.Is finds the kind of an error ([ErrConflict], [ErrNotFound], [ErrUnavailable], …), errors.As its details
// ([*Error], [*ConflictError]). They come from the details of gRPC, never from an error's text.
//
//	var conflict *client.ConflictError
//	switch {
//	case errors.As(err, &conflict):
//		log.Printf("event %s came meanwhile", conflict.EventID)
//	case errors.Is(err, client.ErrUnavailable):
//		// It may have been stored. A retry of the same events with the same ids is safe.
//	}
//
// # Test
//
// Package clienttest has a server in memory with the same rules, for unit tests.
package client
