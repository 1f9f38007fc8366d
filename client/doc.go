// Package client is the Go client of Orisun, an event store for decisions that must stay correct.
//
// # Connect
//
// [Dial] takes the URL of a server, or of several nodes. A program needs one [Client], which is safe for concurrent
// use:
//
//	c, err := client.Dial("grpc://admin:changeit@localhost:5005") // grpcs: with TLS
//	…
//	defer c.Close()
//
// Dial does not connect: the first call does. [Client.Ping] finds out whether the server answers and accepts the
// credentials. The client sends the password once, and a token after that. Calls go round robin to the healthy nodes.
//
// While a node or PostgreSQL is unavailable, a call is retried until the deadline of its context or, without one, for
// [DefaultRetryTime]. Saves are idempotent, so a retry never stores an event twice. Calls that are not idempotent, such
// as [Client.CreateUser], are made once.
//
// # Boundaries and positions
//
// A boundary is a named domain of events, such as "bank". Positions, event ids and decisions never cross it. A new
// server has the boundaries orisun_test_1 and orisun_test_2; [Client.CreateBoundary] creates others. A [Position] is
// the place of an event in its boundary, in the order of commits. The zero Position is before the first event.
//
// # Decide
//
// A command is decided on its context: the events that its rules look at. [Decide] reads the context, folds it into a
// state, calls a function that decides, and saves the events that this function returns, unless the context has
// changed meanwhile. If it has, Decide reads the new events, folds them, and decides again:
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
//			return client.One("Withdrawn", map[string]any{"account": "alice", "amount": -30}), nil
//		})
//
// The first function is the fold: it is called for each event of the context, in order, and changes the state. The
// second one decides on that state. Its error refuses the command: nothing is saved, and Decide returns the error. Both
// are plain Go, and are tested without a server.
//
// Helpers make programs shorter: [FoldData] makes a fold that gets decoded data, [Count] is a fold that counts, and
// [One] returns a single event to save. If the latest event of a context is all that a decision needs, use
// [Client.Latest] and [Client.Save].
//
// # Criteria
//
// [Criteria] say which events are meant, by fields of their data. [Where] and [Type] make a [Criterion], whose tags
// must all match. [Any] joins several, of which one must match. [AnyField] looks for a value in several fields. Nil
// criteria match every event of the boundary.
//
// Events that do not match never conflict with a decision, so a narrow context is a fast one. Criteria need an index to
// be fast in a long history: [Client.Indexes] advises, [Client.CreateIndex] creates.
//
// # Read, save, follow
//
// [Client.Get] iterates over all events that match, however many. [Client.Latest] returns the latest event of each
// criterion. [Client.Save] stores events [Always] or [IfUnchanged].
//
// [Client.Follow] iterates over the stored events, and then over new ones as they are saved, each once. It resumes
// after its last event when a connection breaks, on another node if need be. It ends only with its context, or with an
// error that a retry does not heal. A program that restarts passes the position of the last event that it processed to
// [Since].
//
// # Project
//
// Package projection, a module of its own, applies events to tables of your PostgreSQL and stores the position in the
// same transaction, so that each event is applied exactly once.
//
// # Consume
//
// A durable subscription is for work with other systems, such as sending mail. The server stores which events are
// acknowledged, and divides the events among all consumers, so the caller stores no position.
// [Client.CreateSubscription] creates a subscription. [Client.Consume] calls a function for each event, for several at
// a time where their keys differ. An error of the function refuses the event: it is delivered again, and parked after
// too many refusals ([Client.ListParked]). [Client.WaitForCheckpoint] waits until the events of a save are processed.
//
// # Events
//
// [NewEvent.Data] is any value that encoding/json marshals to a JSON object. [Event.Decode] unmarshals it. A [Registry]
// maps event types to Go types.
//
// # Errors
//
// errors.Is finds the kind of an error ([ErrConflict], [ErrNotFound], [ErrUnavailable], …), and errors.As its details
// (*[Error], *[ConflictError]). Both come from the details of the gRPC status, never from its text.
//
//	var conflict *client.ConflictError
//	switch {
//	case errors.As(err, &conflict):
//		log.Printf("event %s was saved meanwhile", conflict.EventID)
//	case errors.Is(err, client.ErrUnavailable):
//		// The events may have been stored. A retry of the same events with the same ids is safe.
//	}
//
// # Test
//
// Package clienttest has a server in memory with the same rules, for unit tests.
package client
