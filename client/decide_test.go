package client_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oexza/orisun/client"
)

type amount struct {
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

func addAmount(balance *int64, event client.Event) error {
	var a amount
	err := event.Decode(&a)
	*balance += a.Amount
	return err
}

var errInsufficient = errors.New("the balance does not suffice")

func withdraw(account string, cents int64) func(int64) ([]client.NewEvent, error) {
	return func(balance int64) ([]client.NewEvent, error) {
		if balance < cents {
			return nil, errInsufficient
		}
		return []client.NewEvent{{Type: "Withdrawn", Data: amount{account, -cents}}}, nil
	}
}

func TestDecide(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	alice := client.Any(client.Where("account", "alice"))
	save(t, c, boundary, client.NewEvent{Type: "Deposited", Data: amount{"alice", 100}})

	decision, err := client.Decide(t.Context(), c, boundary, alice, addAmount, withdraw("alice", 30))
	if err != nil || decision.State != 100 || decision.Attempts != 1 || len(decision.Events) != 1 {
		t.Fatalf("%+v, %v", decision, err)
	}
	events := collect(t, c, boundary, alice)
	saved := decision.Events[0]
	if last := events[len(events)-1]; last.ID != saved.ID || last.Type != saved.Type || last.Position != saved.Position ||
		last.Position != decision.Position {
		t.Errorf("saved %+v, stored %+v", saved, last)
	}
	decision, err = client.Decide(t.Context(), c, boundary, alice, addAmount, withdraw("alice", 71))
	if !errors.Is(err, errInsufficient) || decision.State != 70 {
		t.Errorf("%+v, %v", decision, err)
	}
	nothing := func(int64) ([]client.NewEvent, error) { return nil, nil }
	decision, err = client.Decide(t.Context(), c, boundary, alice, addAmount, nothing)
	if err != nil || decision.Events != nil || decision.Position != saved.Position {
		t.Errorf("%+v, %v", decision, err)
	}
	type balances map[string]int64
	add := client.FoldData(func(b *balances, _ string, a amount) { (*b)[a.Account] += a.Amount })
	none := func(balances) ([]client.NewEvent, error) { return nil, nil }
	if maps, err := client.Decide(t.Context(), c, boundary, alice, add, none); err != nil || maps.State["alice"] != 70 {
		t.Errorf("%+v, %v", maps, err)
	}
	broken := errors.New("broken")
	fail := func(*int64, client.Event) error { return broken }
	if _, err = client.Decide(t.Context(), c, boundary, alice, fail, nothing); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Other clients come between the reading and the saving of each attempt but the last.
func TestDecideReadsOnlyWhatIsNewAndKeepsItsIDs(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	alice := client.Any(client.Where("account", "alice"))
	deposit := func() { save(t, c, boundary, client.NewEvent{Type: "Deposited", Data: amount{"alice", 10}}) }
	for range 5 {
		deposit()
	}
	folded := 0
	fold := func(balance *int64, event client.Event) error {
		folded++
		return addAmount(balance, event)
	}
	var states []int64
	decide := func(balance int64) ([]client.NewEvent, error) {
		if states = append(states, balance); len(states) < 4 {
			deposit()
		}
		return []client.NewEvent{{Type: "Noted"}, {ID: "own", Type: "Noted"}, {Type: "Noted"}}, nil
	}
	decision, err := client.Decide(t.Context(), c, boundary, alice, fold, decide)
	if err != nil || decision.Attempts != 4 || fmt.Sprint(states) != "[50 60 70 80]" || folded != 8 {
		t.Fatalf("%+v, %v; states %v, %d events folded", decision, err, states, folded)
	}
	if d := decision.Events; len(d) != 3 || d[1].ID != "own" || d[0].ID == d[2].ID || d[0].Position.GlobalID != 8 ||
		d[2].Position.GlobalID != 10 {
		t.Errorf("%+v", d)
	}
	// The limit.
	always := func(int64) ([]client.NewEvent, error) {
		deposit()
		return []client.NewEvent{{Type: "Noted"}}, nil
	}
	decision, err = client.Decide(t.Context(), c, boundary, alice, fold, always, client.Attempts(3))
	if !errors.Is(err, client.ErrTooManyConflicts) || !errors.Is(err, client.ErrConflict) || decision.Attempts != 3 {
		t.Errorf("%+v, %v", decision, err)
	}
}

func TestSixtyFourDecidersOnOneContext(t *testing.T) {
	c := dial(t, shared.URL, client.WithRetryTime(5*time.Minute))
	boundary := newBoundary(t, c)
	alice := client.Any(client.Where("account", "alice"))
	const deciders, each = 64, 2
	save(t, c, boundary, client.NewEvent{Type: "Deposited", Data: amount{"alice", deciders * each}})
	var mu sync.Mutex
	var longest time.Duration
	var most, attempts int
	var running sync.WaitGroup
	for range deciders {
		running.Go(func() {
			for range each {
				begun := time.Now()
				decision, err := client.Decide(
					t.Context(), c, boundary, alice, addAmount, withdraw("alice", 1), client.Attempts(1000))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				longest, most = max(longest, time.Since(begun)), max(most, decision.Attempts)
				attempts += decision.Attempts
				mu.Unlock()
			}
		})
	}
	running.Wait()
	var balance int64
	for _, event := range collect(t, c, boundary, alice) {
		if err := addAmount(&balance, event); err != nil {
			t.Fatal(err)
		}
	}
	if balance != 0 {
		t.Errorf("the balance is %d after %d withdrawals", balance, deciders*each)
	}
	t.Logf("%d decisions: %.1f attempts each, at most %d; the longest took %s",
		deciders*each, float64(attempts)/deciders/each, most, longest)
}
