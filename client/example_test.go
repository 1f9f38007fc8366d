package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oexza/orisun/client"
)

// example returns a client and a new boundary with some events in it.
func example(name string) (_ *client.Client, boundary string, done func()) {
	c, err := client.Dial(shared.URL)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if _, err := c.CreateBoundary(ctx, client.Boundary{Name: name, Schema: "public"}); err != nil {
		panic(err)
	}
	_, err = c.Save(ctx, name, client.Always,
		client.NewEvent{ID: "1", Type: "AccountOpened", Data: map[string]any{"account": "alice", "amount": 0}},
		client.NewEvent{ID: "2", Type: "Deposited", Data: map[string]any{"account": "alice", "amount": 100}},
		client.NewEvent{ID: "3", Type: "AccountOpened", Data: map[string]any{"account": "bob", "amount": 0}})
	if err != nil {
		panic(err)
	}
	return c, name, func() {
		if err := c.Close(); err != nil {
			panic(err)
		}
	}
}

func ExampleDial() {
	c, err := client.Dial("grpc://admin:changeit@" + shared.Address) // several nodes: host1:5005,host2:5005
	if err != nil {
		panic(err)
	}
	defer c.Close() //nolint:errcheck // an example
	fmt.Println(c.Ping(context.Background()))
	// Output: <nil>
}

func ExampleDecide() {
	c, bank, done := example("example_decide")
	defer done()

	alice := client.Any(client.Where("account", "alice"))
	fold := func(balance *int64, e client.Event) error {
		var moved struct{ Amount int64 }
		err := e.Decode(&moved)
		*balance += moved.Amount
		return err
	}
	withdraw := func(cents int64) error {
		_, err := client.Decide(context.Background(), c, bank, alice, fold, func(balance int64) ([]client.NewEvent, error) {
			if balance < cents {
				return nil, fmt.Errorf("the balance is %d", balance)
			}
			return []client.NewEvent{{Type: "Withdrawn", Data: map[string]any{"account": "alice", "amount": -cents}}}, nil
		})
		return err
	}
	fmt.Println(withdraw(70))
	fmt.Println(withdraw(70))
	// Output:
	// <nil>
	// the balance is 30
}

func ExampleFoldData() {
	c, bank, done := example("example_fold")
	defer done()

	type moved struct{ Amount int64 }
	fold := client.FoldData(func(balance *int64, eventType string, data moved) {
		if eventType != "AccountOpened" {
			*balance += data.Amount
		}
	})
	alice := client.Any(client.Where("account", "alice"))
	nothing := func(int64) ([]client.NewEvent, error) { return nil, nil }
	decision, err := client.Decide(context.Background(), c, bank, alice, fold, nothing)
	fmt.Println(decision.State, err)
	// Output: 100 <nil>
}

func ExampleClient_Save() {
	c, bank, done := example("example_save")
	defer done()
	ctx := context.Background()

	bob := client.Any(client.Where("account", "bob"))
	deposit := client.NewEvent{Type: "Deposited", Data: map[string]any{"account": "bob", "amount": 5}}
	_, err := c.Save(ctx, bank, client.IfUnchanged(bob, client.Position{}), deposit)
	fmt.Println("nothing known of bob:", errors.Is(err, client.ErrConflict))

	latest, err := c.Latest(ctx, bank, bob)
	if err != nil {
		panic(err)
	}
	_, err = c.Save(ctx, bank, client.IfUnchanged(bob, latest.Position), deposit)
	fmt.Println("after the latest event:", err)
	// Output:
	// nothing known of bob: true
	// after the latest event: <nil>
}

func ExampleConflictError() {
	c, bank, done := example("example_conflict")
	defer done()

	alice := client.Any(client.Where("account", "alice"))
	_, err := c.Save(
		context.Background(),
		bank,
		client.IfUnchanged(alice, client.Position{}),
		client.NewEvent{Type: "Closed"},
	)
	if conflict, ok := errors.AsType[*client.ConflictError](err); ok {
		fmt.Println("expected", conflict.Expected, "actual", conflict.Actual)
	}
	// Output: expected {-1,-1} actual {3,1}
}

func ExampleClient_Get() {
	c, bank, done := example("example_get")
	defer done()

	opened := client.Any(client.Type("AccountOpened"))
	for event, err := range c.Get(context.Background(), bank, opened, client.Backward()) {
		if err != nil {
			panic(err)
		}
		var account struct{ Account string }
		if err := event.Decode(&account); err != nil {
			panic(err)
		}
		fmt.Println(event.ID, event.Type, account.Account)
	}
	// Output:
	// 3 AccountOpened bob
	// 1 AccountOpened alice
}

func ExampleClient_Latest() {
	c, bank, done := example("example_latest")
	defer done()

	accounts := client.Any(client.Where("account", "alice"), client.Where("account", "carol"))
	latest, err := c.Latest(context.Background(), bank, accounts)
	if err != nil {
		panic(err)
	}
	fmt.Println(latest.Events[0].Type, latest.Events[1] == nil, latest.Position)
	// Output: Deposited true {3,1}
}

func ExampleClient_Follow() {
	c, bank, done := example("example_follow")
	defer done()

	for event, err := range c.Follow(context.Background(), bank, nil) {
		if err != nil {
			panic(err) // the context has ended, or the error does not heal
		}
		fmt.Println(event.ID, event.Type)
		if event.ID == "3" {
			break // a projection goes on
		}
	}
	// Output:
	// 1 AccountOpened
	// 2 Deposited
	// 3 AccountOpened
}

func ExampleClient_Handle() {
	c, bank, done := example("example_handle")
	defer done()

	enough := errors.New("enough")
	err := c.Handle(context.Background(), bank, client.Any(client.Type("Deposited")),
		func(_ context.Context, event client.Event) error {
			fmt.Println(event.ID)
			return enough
		}, client.As("one of several"))
	fmt.Println(err)
	// Output:
	// 2
	// enough
}

func ExampleClient_Consume() {
	c, bank, done := example("example_consume")
	defer done()
	ctx, stop := context.WithCancel(context.Background()) // a worker's: signal.NotifyContext
	defer stop()

	byAccount := client.Subscription{Name: "statements", PartitionKey: "account"}
	if _, err := c.CreateSubscription(ctx, bank, byAccount, client.Start{}); err != nil {
		panic(err)
	}
	handled := 0
	err := c.Consume(ctx, bank, "statements", func(_ context.Context, d client.Delivery) error {
		if d.ID == "2" && d.Count == 1 {
			return client.Later(time.Millisecond) // the mail server is busy
		}
		if handled++; handled == 3 {
			stop() // the event in hand is acknowledged
		}
		return nil
	})
	fmt.Println(handled, err)
	// Output: 3 <nil>
}

func ExampleClient_WaitForCheckpoint() {
	c, bank, done := example("example_wait")
	defer done()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	var projection atomic.Int64 // a table, say
	if _, err := c.CreateSubscription(ctx, bank, client.Subscription{Name: "total"}, client.Start{}); err != nil {
		panic(err)
	}
	ended := make(chan error)
	go func() {
		ended <- c.Consume(ctx, bank, "total", func(_ context.Context, d client.Delivery) error {
			var moved struct{ Amount int64 }
			err := d.Decode(&moved)
			projection.Add(moved.Amount)
			return err
		})
	}()

	deposit := client.NewEvent{Type: "Deposited", Data: map[string]any{"account": "bob", "amount": 5}}
	saved, err := c.Save(ctx, bank, client.Always, deposit)
	if err != nil {
		panic(err)
	}
	if _, err := c.WaitForCheckpoint(ctx, bank, "total", saved); err != nil {
		panic(err)
	}
	fmt.Println("with the client's own write:", projection.Load())
	stop()
	fmt.Println(<-ended)
	// Output:
	// with the client's own write: 105
	// <nil>
}

func ExampleClient_ListParked() {
	c, bank, done := example("example_parked")
	defer done()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	deposits := client.Subscription{Name: "mailer", Criteria: client.Any(client.Type("Deposited")), MaxRefusals: 1}
	if _, err := c.CreateSubscription(ctx, bank, deposits, client.Start{}); err != nil {
		panic(err)
	}
	noAddress := errors.New("alice has no address")
	err := c.Consume(ctx, bank, "mailer", func(context.Context, client.Delivery) error { return noAddress },
		client.OnCaughtUp(func(client.Position) { stop() }))
	fmt.Println(err)
	for parked, err := range c.ListParked(context.Background(), bank, "mailer") {
		if err != nil {
			panic(err)
		}
		fmt.Println(parked.ID, parked.Reason, parked.Refusals)
	}
	skipped, err := c.SkipAllParked(context.Background(), bank, "mailer") // or ReplayParked
	fmt.Println(skipped, err)
	// Output:
	// <nil>
	// 2 alice has no address 1
	// 1 <nil>
}

func ExampleClient_CreateIndex() {
	c, bank, done := example("example_index")
	defer done()
	ctx := context.Background()

	_, err := c.CreateIndex(ctx, bank, client.Index{Name: "account", Fields: []client.IndexField{{Key: "account"}}})
	if err != nil {
		panic(err)
	}
	index, err := c.Index(ctx, bank, "account")
	fmt.Println(index.Ready, err)
	fmt.Println(c.DropIndex(ctx, bank, "account"))
	// Output:
	// true <nil>
	// <nil>
}

func ExampleClient_Explain() {
	c, bank, done := example("example_explain")
	defer done()
	ctx := context.Background()

	_, err := c.CreateIndex(ctx, bank, client.Index{Name: "account", Fields: []client.IndexField{{Key: "account"}}})
	if err != nil {
		panic(err)
	}
	criteria := client.Any(client.Where("account", "alice"), client.Where("amount", "100"))
	explanation, err := c.Explain(ctx, bank, criteria)
	if err != nil {
		panic(err)
	}
	for _, scan := range explanation.Scans {
		for _, i := range scan.Criteria {
			fmt.Println(criteria[i], scan.Index, scan.Served)
		}
	}
	// Output:
	// [{account alice}] example_explain_account_idx true
	// [{amount 100}] example_explain_orisun_es_event_pkey false
}

func ExampleClient_Indexes() {
	c, bank, done := example("example_indexes")
	defer done()
	ctx := context.Background()

	byType := client.Index{
		Name: "withdrawn", Fields: []client.IndexField{{Key: "amount", Type: client.Numeric}},
		Conditions: []client.IndexCondition{{Key: "event_type", Operator: "=", Value: "Withdrawn"}},
	}
	warnings, err := c.CreateIndex(ctx, bank, byType)
	if err != nil {
		panic(err)
	}
	indexes, _, err := c.Indexes(ctx, bank)
	if err != nil {
		panic(err)
	}
	fmt.Println(len(warnings), indexes[0].Name, indexes[0].Fields, indexes[0].Conditions, indexes[0].Scans)
	// Output: 0 withdrawn [{amount 1}] [{event_type = Withdrawn}] 0
}

func ExampleClient_CreateBoundary() {
	c, _, done := example("example_boundary")
	defer done()
	ctx := context.Background()

	orders := client.Boundary{Name: "example_orders", Description: "orders and what becomes of them", Schema: "public"}
	if _, err := c.CreateBoundary(ctx, orders); err != nil {
		panic(err)
	}
	boundary, err := c.Boundary(ctx, "example_orders")
	fmt.Println(boundary.Active, boundary.Description, err)
	all, err := c.Boundaries(ctx)
	fmt.Println(slices.ContainsFunc(all, func(b client.BoundaryState) bool { return b.Name == "example_orders" }), err)
	count, err := c.EventCount(ctx, "example_orders")
	fmt.Println(count, err)
	events, err := c.DeleteBoundary(ctx, "example_orders", "example_orders")
	fmt.Println(events, err)
	// Output:
	// true orders and what becomes of them <nil>
	// true <nil>
	// 0 <nil>
	// 0 <nil>
}

func ExampleClient_CreateUser() {
	c, bank, done := example("example_users")
	defer done()
	ctx := context.Background()

	clerk, _, err := c.CreateUser(
		ctx,
		client.User{Name: "A clerk", Username: "clerk", Roles: []string{"read:" + bank}},
		"a-password",
	)
	if err != nil {
		panic(err)
	}
	as, err := client.Dial("grpc://clerk:a-password@" + shared.Address)
	if err != nil {
		panic(err)
	}
	defer as.Close() //nolint:errcheck // an example
	_, err = as.Save(ctx, bank, client.Always, client.NewEvent{Type: "Noted"})
	fmt.Println("a reader saves:", errors.Is(err, client.ErrPermissionDenied))
	if _, _, err := c.ChangeRoles(ctx, clerk.ID, "read:"+bank, "write:"+bank); err != nil {
		panic(err)
	}
	_, err = as.Save(ctx, bank, client.Always, client.NewEvent{Type: "Noted"})
	fmt.Println("a writer saves:", err)
	fmt.Println("another password:", as.ChangePassword(ctx, clerk.ID, "a-password", "another-one"))
	_, valid, err := c.ValidateCredentials(ctx, "clerk", "another-one")
	fmt.Println("is valid:", valid, err)
	fmt.Println("set by an admin:", c.SetPassword(ctx, clerk.ID, "a-third-one"), c.EndSessions(ctx, clerk.ID))
	clerk, _, err = c.SetBoundaryPermissions(ctx, clerk.ID, bank, client.PermissionRead)
	fmt.Println("may read only:", clerk.Roles, err)
	users, err := c.Users(ctx)
	fmt.Println("a user:", slices.ContainsFunc(users, func(u client.User) bool { return u.ID == clerk.ID }), err)
	count, err := c.UserCount(ctx)
	fmt.Println("of", count, err)
	fmt.Println("deleted:", c.DeleteUser(ctx, clerk.ID))
	// Output:
	// a reader saves: true
	// a writer saves: <nil>
	// another password: <nil>
	// is valid: true <nil>
	// set by an admin: <nil> <nil>
	// may read only: [read:example_users] <nil>
	// a user: true <nil>
	// of 2 <nil>
	// deleted: <nil>
}

func ExampleClient_Server() {
	c, _, done := example("example_server")
	defer done()
	server, err := c.Server(context.Background())
	fmt.Println(server.IndexManagement, server.BoundaryCatalog, server.NodeID != "", err)
	// Output: true true true <nil>
}

func ExampleRegistry() {
	c, bank, done := example("example_registry")
	defer done()
	ctx := context.Background()

	type opened struct{ Account string }
	type deposited struct{ Amount int64 }
	var events client.Registry
	client.Register[opened](&events, "AccountOpened")
	client.Register[deposited](&events, "Deposited")

	for event, err := range c.Get(ctx, bank, client.Any(client.Where("account", "alice"))) {
		if err != nil {
			panic(err)
		}
		value, err := events.Decode(event)
		if err != nil {
			panic(err)
		}
		switch e := value.(type) {
		case opened:
			fmt.Println("opened", e.Account)
		case deposited:
			fmt.Println("deposited", e.Amount)
		}
	}
	event, err := events.New(deposited{5})
	fmt.Println(event.Type, err)
	// Output:
	// opened alice
	// deposited 100
	// Deposited <nil>
}
