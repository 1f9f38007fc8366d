//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oexza/orisun/client"
	"github.com/oexza/orisun/client/internal/testserver"
)

// startTwo starts two nodes with a PostgreSQL that a test may crash.
func startTwo(t *testing.T) (nodes [2]*testserver.Server, database *testserver.Postgres) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "orisun-outage-") //nolint:usetesting // PostgreSQL's account must read it
	if err != nil {
		t.Fatal(err)
	}
	database, err = testserver.NewPostgres(dir, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(database.Stop("fast"), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	env := []string{
		"ORISUN_PG_HOST=127.0.0.1", "ORISUN_PG_PORT=" + strconv.Itoa(port), "ORISUN_PG_USER=postgres",
		"ORISUN_PG_NAME=postgres",
	}
	for i := range nodes {
		if nodes[i], err = start(append(env, "ORISUN_NATS_SERVER_NAME=node"+strconv.Itoa(i))...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := nodes[i].Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	return nodes, database
}

// One of two nodes is killed and PostgreSQL crashes and starts again while 16 clients decide and 4 follow: no client
// sees an error within its deadline, the balances add up, and each follower sees each event once.
func TestANodesDeathAndARestartOfPostgreSQLArePauses(t *testing.T) {
	nodes, database := startTwo(t)
	both := nodes[0].URL + "," + nodes[1].Address
	c := dial(t, both)
	boundary := newBoundary(t, c)
	const accounts, deposit = 8, 1000
	name := func(i int) string { return "account" + strconv.Itoa(i) }
	for i := range accounts {
		save(t, c, boundary, client.NewEvent{Type: "Opened", Data: amount{name(i), deposit}})
	}

	var decided atomic.Int64
	ctx, stop := cancelable(t)
	var deciding, following sync.WaitGroup
	for range 16 {
		c := dial(t, both)
		deciding.Go(func() {
			for ctx.Err() == nil {
				from := rand.IntN(accounts)
				to := (from + 1 + rand.IntN(accounts-1)) % accounts
				deadline, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				pair := client.AnyField([]string{"account"}, name(from), name(to))
				_, err := client.Decide(deadline, c, boundary, pair, addAmount, func(int64) ([]client.NewEvent, error) {
					return []client.NewEvent{
						{Type: "Moved", Data: amount{name(from), -1}}, {Type: "Moved", Data: amount{name(to), 1}},
					}, nil
				}, client.Attempts(10_000))
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				decided.Add(1)
			}
		})
	}
	var seen [4][]client.Event
	var log strings.Builder // read after the last follower
	logged := client.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))
	began := make(chan struct{}, len(seen))
	for i := range seen {
		c := dial(t, both, logged)
		following.Go(func() {
			for event, err := range c.Follow(t.Context(), boundary, nil) {
				if err != nil {
					t.Error(err)
					return
				}
				if seen[i] = append(seen[i], event); len(seen[i]) == 1 {
					began <- struct{}{}
				}
				if event.Type == "End" {
					return
				}
			}
		})
	}
	for range seen {
		<-began
	}
	progress := func(by int64) {
		for goal := decided.Load() + by; decided.Load() < goal && !t.Failed(); {
			if err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	progress(40)
	if err := nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	progress(40)
	if err := errors.Join(database.Stop("immediate"), database.Start()); err != nil {
		t.Fatal(err)
	}
	progress(40)
	stop()
	deciding.Wait()
	save(t, c, boundary, client.NewEvent{Type: "End"})
	following.Wait()

	stored := collect(t, c, boundary, nil)
	if want := accounts + 2*int(decided.Load()) + 1; len(stored) != want {
		t.Errorf("%d events are stored, want %d", len(stored), want)
	}
	var total int64
	for _, event := range stored[:len(stored)-1] {
		if err := addAmount(&total, event); err != nil {
			t.Fatal(err)
		}
	}
	if total != accounts*deposit {
		t.Errorf("the balances add up to %d, want %d", total, accounts*deposit)
	}
	for i, events := range seen {
		if got, want := fmt.Sprint(ids(events)), fmt.Sprint(ids(stored)); got != want {
			t.Errorf("follower %d saw %d events, %d are stored, or in another order", i, len(events), len(stored))
		}
	}
	t.Logf("%d decisions; the followers resumed %d times", decided.Load(), strings.Count(log.String(), "resuming"))
}

// Consumers come and go while one of two nodes is killed and PostgreSQL crashes: each event is handled, each key in
// order. Only events whose acknowledgement was lost are handled again.
func TestConsumersGoOnOnTheOtherNode(t *testing.T) {
	nodes, database := startTwo(t)
	c := dial(t, nodes[0].URL+","+nodes[1].Address)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", PartitionKey: "Order"})
	const orders = 10
	var mu sync.Mutex
	var handled [orders]int // the next event of each
	var again int
	handle := func(ctx context.Context, d client.Delivery) error {
		var data placed
		if err := d.Decode(&data); err != nil {
			return err
		}
		order, err := strconv.Atoi(data.Order)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		switch next := handled[order]; {
		case ctx.Err() != nil:
			return ctx.Err()
		case data.N > next:
			t.Errorf("event %d of order %d comes before %d", data.N, order, next)
		case data.N < next:
			again++
		default:
			handled[order]++
		}
		return nil
	}
	names := make([]string, orders)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	const rounds, perRound = 4, 10
	var last client.Position
	saved := 0
	saveRound := func() {
		for range perRound {
			for _, name := range names {
				last = save(t, c, boundary, client.NewEvent{
					ID: name + "-" + strconv.Itoa(saved), Type: "Placed", Data: placed{name, saved},
				})
			}
			saved++
		}
	}
	var consumers []func() error
	for range 3 {
		consumers = append(consumers, consuming(t, c, boundary, "s", handle, client.Concurrency(4)))
	}
	for round := range rounds {
		saveRound()
		switch round {
		case 0:
			if err := nodes[0].Kill(); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := errors.Join(database.Stop("immediate"), database.Start()); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := consumers[0](); err != nil {
				t.Error(err)
			}
			consumers = append(consumers, consuming(t, c, boundary, "s", handle))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if at, err := c.WaitForCheckpoint(ctx, boundary, "s", last); err != nil {
		t.Fatalf("at %v, want %v: %v", at, last, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for order, n := range handled {
		if n != saved {
			t.Errorf("%d events of order %d were handled, want %d", n, order, saved)
		}
	}
	t.Logf("%d events were handled again", again)
}

// What Decide costs beside the calls that it makes.
func BenchmarkDecide(b *testing.B) {
	c := dial(b, shared.URL)
	boundary := newBoundary(b, c)
	if _, err := c.CreateIndex(b.Context(), boundary, client.Index{
		Name: "a", Fields: []client.IndexField{{Key: "account"}},
	}); err != nil {
		b.Fatal(err)
	}
	var n int
	decide := func() time.Duration {
		n++
		account := client.Any(client.Where("account", strconv.Itoa(n)))
		begun := time.Now()
		_, err := client.Decide(b.Context(), c, boundary, account, addAmount, func(int64) ([]client.NewEvent, error) {
			return []client.NewEvent{{Type: "Opened", Data: amount{strconv.Itoa(n), 1}}}, nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return time.Since(begun)
	}
	calls := rawCalls(b, boundary)
	var decided, raw []time.Duration
	for b.Loop() { // in turns, so that both meet the same machine
		decided = append(decided, decide())
		n++
		raw = append(raw, calls(strconv.Itoa(n)))
	}
	b.ReportMetric(float64(median(decided))/float64(median(raw)), "decide/raw")
}

// median leaves out what other programs of the machine cost.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
