// Command projection keeps the balances of the transfers of ../transfer in a table of a PostgreSQL, each event
// applied once.
//
//	go run -C examples ./projection -database postgres://postgres:postgres@localhost:5434/orisun
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/projection"
)

type event struct {
	Account, From, To string
	Balance, Amount   int64
}

const add = `INSERT INTO balance VALUES ($1, $2)
	ON CONFLICT (account) DO UPDATE SET cents = balance.cents + excluded.cents`

// apply runs in the transaction that moves the checkpoint.
func apply(ctx context.Context, tx pgx.Tx, e client.Event) error {
	var data event
	if err := e.Decode(&data); err != nil {
		return err
	}
	batch := &pgx.Batch{}
	if e.Type == "AccountOpened" {
		batch.Queue(add, data.Account, data.Balance)
	} else {
		batch.Queue(add, data.From, -data.Amount)
		batch.Queue(add, data.To, data.Amount)
	}
	return tx.SendBatch(ctx, batch).Close()
}

func run(ctx context.Context, url, boundary, database string) error {
	db, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `CREATE TABLE IF NOT EXISTS balance (account text PRIMARY KEY, cents bigint NOT NULL)`)
	if err != nil {
		return err
	}
	c, err := client.Dial(url)
	if err != nil {
		return err
	}
	return projection.Run(ctx, c, projection.PGX(db), projection.Config[pgx.Tx]{
		Name: "balances", Boundary: boundary, Apply: apply,
		Criteria: client.Any(client.Type("AccountOpened"), client.Type("MoneyTransferred")),
		Progress: func(p projection.Progress) {
			fmt.Printf("%d applied, %.0f/s, %d left, %s\n", p.Applied, p.Rate, p.Left, p.TimeLeft)
		},
	})
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	database := flag.String("database", "postgres://postgres:postgres@localhost:5434/orisun", "where the balances go")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *boundary, *database); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "projection:", err)
		defer os.Exit(1)
	}
}
