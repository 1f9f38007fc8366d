// Command transfer moves money between two accounts, as docs/tutorial.md describes: it reads all events about both,
// decides, and saves the transfer only if no event about either of them came meanwhile.
//
//	go run -C examples ./transfer -open alice=100,bob=0
//	go run -C examples ./transfer -from alice -to bob -amount 30
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/oexza/orisun/client"
)

// event is what AccountOpened (Account, Balance) and MoneyTransferred (From, To, Amount) carry. A transfer is one event
// about two accounts: each finds it by its own criterion.
type event struct {
	Account string `json:"account,omitempty"`
	Balance int64  `json:"balance,omitempty"` // in cents, as Amount
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Amount  int64  `json:"amount,omitempty"`
}

type balances map[string]int64

// about is the context of accounts: all events that name one of them.
func about(accounts ...string) (context client.Criteria) {
	for _, name := range accounts {
		context = append(context, client.Where("account", name), client.Where("from", name), client.Where("to", name))
	}
	return context
}

func fold(state *balances, e client.Event) error {
	var data event
	if err := e.Decode(&data); err != nil {
		return err
	}
	if *state == nil {
		*state = balances{}
	}
	switch e.Type {
	case "AccountOpened":
		(*state)[data.Account] += data.Balance
	case "MoneyTransferred":
		(*state)[data.From] -= data.Amount
		(*state)[data.To] += data.Amount
	}
	return nil
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	open := flag.String("open", "", "accounts to open, each name=cents")
	from, to := flag.String("from", "", "who pays"), flag.String("to", "", "who gets it")
	amount := flag.Int64("amount", 0, "cents")
	flag.Parse()
	c, err := client.Dial(*url)
	if err == nil && *open != "" {
		err = openAccounts(c, *boundary, *open)
	} else if err == nil {
		err = transfer(c, *boundary, *from, *to, *amount)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "transfer:", err)
		os.Exit(1)
	}
}

// openAccounts opens each account if no event names it.
func openAccounts(c *client.Client, boundary, accounts string) error {
	for account := range strings.SplitSeq(accounts, ",") {
		name, text, _ := strings.Cut(account, "=")
		cents, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("-open is %q: it must be name=cents pairs with commas between them", accounts)
		}
		opened := client.NewEvent{Type: "AccountOpened", Data: event{Account: name, Balance: cents}}
		unknown := client.IfUnchanged(about(name), client.Position{})
		if _, err := c.Save(context.Background(), boundary, unknown, opened); err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
	}
	return nil
}

func transfer(c *client.Client, boundary, from, to string, amount int64) error {
	decision, err := client.Decide(
		context.Background(),
		c,
		boundary,
		about(from, to),
		fold,
		func(b balances) ([]client.NewEvent, error) {
			switch _, known := b[to]; {
			case from == to || amount <= 0:
				return nil, fmt.Errorf("-from and -to must differ, and -amount be positive")
			case !known:
				return nil, fmt.Errorf("there is no account %q", to)
			case b[from] < amount:
				return nil, fmt.Errorf("the balance does not suffice: %s has %d", from, b[from])
			}
			return []client.NewEvent{{Type: "MoneyTransferred", Data: event{From: from, To: to, Amount: amount}}}, nil
		},
	)
	if err == nil {
		fmt.Printf("%s has %d, %s has %d\n", from, decision.State[from]-amount, to, decision.State[to]+amount)
	}
	return err
}
