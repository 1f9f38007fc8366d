package projection_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/testserver"
)

// examples/projection runs, is interrupted, and runs again: each event is applied once.
func TestTheExampleKeepsTheBalancesOfTheTransfers(t *testing.T) {
	program := filepath.Join(t.TempDir(), "projection")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "./projection")
	build.Dir = filepath.Join(testserver.Root(), "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, err := client.Dial(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	const boundary = "projected_by_the_example"
	if _, err := c.CreateBoundary(t.Context(), client.Boundary{Name: boundary, Schema: "public"}); err != nil {
		t.Fatal(err)
	}
	save := func(eventType string, data map[string]any) {
		t.Helper()
		if _, err := c.Save(t.Context(), boundary, client.Always, client.NewEvent{Type: eventType, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	pool := connect(t)
	schema := pool.Config().ConnConfig.RuntimeParams["search_path"]
	project := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, program,
			"-url", server.URL, "-boundary", boundary, "-database", dsn+"?search_path="+url.QueryEscape(schema))
		var out strings.Builder
		command.Stdout, command.Stderr = &out, &out
		command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
		command.WaitDelay = time.Minute
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		got := ""
		for got != want && ctx.Err() == nil {
			rows, err := pool.Query(ctx, "SELECT format('%s %s', account, cents) FROM balance ORDER BY account")
			if err != nil {
				continue // until the program has created the table
			}
			balances, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err == nil {
				got = fmt.Sprint(balances)
			}
		}
		cancel()
		if err := command.Wait(); got != want || err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("balances %s, want %s; %v\n%s", got, want, err, out.String())
		}
	}
	save("AccountOpened", map[string]any{"account": "alice", "balance": 100})
	save("AccountOpened", map[string]any{"account": "bob", "balance": 0})
	save("MoneyTransferred", map[string]any{"from": "alice", "to": "bob", "amount": 30})
	project("[alice 70 bob 30]")
	save("MoneyTransferred", map[string]any{"from": "bob", "to": "alice", "amount": 5})
	save("Noted", map[string]any{"account": "alice"})
	project("[alice 75 bob 25]")
}
