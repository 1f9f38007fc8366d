// Command transfer moves money between two accounts, as docs/tutorial.md describes: it reads all events about both,
// decides, and saves the transfer only if no event about either of them came meanwhile.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"

	"github.com/oexza/orisun/client"
)

// event has the fields of AccountOpened (Account, Balance) and of MoneyTransferred (From, To, Amount), in cents. A
// transfer is one event about two accounts: each finds it by its own criterion.
type event struct {
	Account, From, To string
	Balance, Amount   int64
}

// about is the context of an account: all events that name it.
func about(name string) client.Criteria {
	return client.Any(client.Where("account", name), client.Where("from", name), client.Where("to", name))
}

type balances map[string]int64

func fold(b *balances, e client.Event) error {
	var data event
	err := e.Decode(&data)
	if *b == nil {
		*b = balances{}
	}
	if e.Type == "AccountOpened" {
		(*b)[data.Account] += data.Balance
	} else {
		(*b)[data.From] -= data.Amount
		(*b)[data.To] += data.Amount
	}
	return err
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	open := flag.String("open", "", "an account to open")
	from, to := flag.String("from", "", "the account that pays"), flag.String("to", "", "the one that gets the money")
	amount := flag.Int64("amount", 0, "cents to transfer, or to open the account with")
	flag.Parse()
	ctx := context.Background()
	c, err := client.Dial(*url)
	if err == nil && *open != "" { // if no event names it
		data := map[string]any{"account": *open, "balance": *amount}
		_, err = c.Save(ctx, *boundary, client.IfUnchanged(about(*open), client.Position{}),
			client.NewEvent{Type: "AccountOpened", Data: data})
	} else if err == nil {
		err = transfer(ctx, c, *boundary, *from, *to, *amount)
	}
	if err != nil {
		log.Fatal("transfer: ", err)
	}
}

func transfer(ctx context.Context, c *client.Client, boundary, from, to string, amount int64) error {
	both := append(about(from), about(to)...)
	decision, err := client.Decide(ctx, c, boundary, both, fold, func(b balances) ([]client.NewEvent, error) {
		switch _, known := b[to]; {
		case from == to || amount <= 0:
			return nil, fmt.Errorf("-from and -to must differ, and -amount be positive")
		case !known:
			return nil, fmt.Errorf("there is no account %q", to)
		case b[from] < amount:
			return nil, fmt.Errorf("the balance does not suffice: %s has %d", from, b[from])
		}
		data := map[string]any{"from": from, "to": to, "amount": amount}
		return []client.NewEvent{{Type: "MoneyTransferred", Data: data}}, nil
	})
	if err == nil {
		fmt.Printf("%s has %d, %s has %d\n", from, decision.State[from]-amount, to, decision.State[to]+amount)
	}
	return err
}
