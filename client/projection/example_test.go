package projection_test

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/projection"
)

// exampleBank returns a client, and a boundary with three deposits.
func exampleBank(name string) (c *client.Client, boundary string) {
	c = client.MustDial(server.URL)
	ctx := context.Background()
	if _, err := c.CreateBoundary(ctx, client.Boundary{Name: name, Schema: "public"}); err != nil {
		panic(err)
	}
	for _, amount := range []int{5, 6, 7} {
		deposit := client.NewEvent{Type: "Deposited", Data: map[string]int{"amount": amount}}
		if _, err := c.Save(ctx, name, client.Always, deposit); err != nil {
			panic(err)
		}
	}
	return c, name
}

func ExampleRun() {
	c, bank := exampleBank("example_run")
	defer c.Close()                                       //nolint:errcheck // an example
	ctx, stop := context.WithCancel(context.Background()) // a worker's: signal.NotifyContext
	defer stop()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS example_deposit (amount bigint NOT NULL)"); err != nil {
		panic(err)
	}

	err = projection.Run(ctx, c, projection.PGX(pool), projection.Config[pgx.Tx]{
		Name: "example_deposits", Boundary: bank, Criteria: client.Any(client.Type("Deposited")),
		Apply: func(ctx context.Context, tx pgx.Tx, event client.Event) error {
			var deposit struct{ Amount int64 }
			if err := event.Decode(&deposit); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "INSERT INTO example_deposit VALUES ($1)", deposit.Amount)
			return err
		},
		Progress: func(p projection.Progress) {
			fmt.Println(p.Applied, "applied,", p.Left, "left")
			stop() // a worker goes on
		},
	})
	var total int64
	query := pool.QueryRow(context.Background(), "SELECT sum(amount) FROM example_deposit")
	fmt.Println("ended by its context:", err != nil && ctx.Err() != nil)
	fmt.Println(query.Scan(&total), total)
	// Output:
	// 3 applied, 0 left
	// ended by its context: true
	// <nil> 18
}

func ExampleSwitch() {
	c, bank := exampleBank("example_switch")
	defer c.Close() //nolint:errcheck // an example
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		panic(err)
	}
	defer db.Close() //nolint:errcheck // an example
	store := projection.SQL(db)
	if err := projection.Setup(ctx, store); err != nil { // where a DBA creates tables; Run does it, too
		panic(err)
	}

	// A version runs until it has applied all; real ones go on.
	run := func(name string) {
		if _, err := db.ExecContext(ctx, "CREATE TABLE "+name+" (event text NOT NULL)"); err != nil {
			panic(err)
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		err := projection.Run(ctx, c, store, projection.Config[*sql.Tx]{
			Name: name, Boundary: bank,
			Apply: func(ctx context.Context, tx *sql.Tx, event client.Event) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO "+name+" VALUES ($1)", event.Type)
				return err
			},
			Progress: func(projection.Progress) { stop() },
		})
		if ctx.Err() == nil {
			panic(err)
		}
	}
	run("example_v1") // the live version, which readers find as the view
	if _, err := db.ExecContext(ctx, "CREATE VIEW example_live AS TABLE example_v1"); err != nil {
		panic(err)
	}
	run("example_v2") // the rebuild beside it
	err = projection.Switch(ctx, store, "example_v1", "example_v2", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE OR REPLACE VIEW example_live AS TABLE example_v2")
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}
