// Command transfer moves money between two accounts, as docs/tutorial.md describes: it reads all events about both,
// decides, and saves the transfer only if no event about either of them came meanwhile.
//
//	transfer open alice 100
//	transfer alice bob 30
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"strconv"

	"github.com/oexza/orisun/client"
)

// about is the context of an account: all events that name it. A transfer is one event about two accounts.
func about(name string) client.Criteria {
	return client.Any(client.Where("account", name), client.Where("from", name), client.Where("to", name))
}

type balances map[string]int64

// event has the fields of AccountOpened (Account, Balance) and of MoneyTransferred (From, To, Amount), in cents.
type event struct {
	Account, From, To string
	Balance, Amount   int64
}

var fold = client.FoldData(func(b *balances, eventType string, e event) {
	if *b == nil {
		*b = balances{}
	}
	if eventType == "AccountOpened" {
		(*b)[e.Account] += e.Balance
	} else {
		(*b)[e.From] -= e.Amount
		(*b)[e.To] += e.Amount
	}
})

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	flag.Parse()
	c, err := client.Dial(*url)
	amount, amountErr := strconv.ParseInt(flag.Arg(2), 10, 64)
	if err = errors.Join(err, amountErr); err == nil {
		err = run(context.Background(), c, *boundary, flag.Arg(0), flag.Arg(1), amount)
	}
	if err != nil {
		log.Fatal("transfer: ", err)
	}
}

func run(ctx context.Context, c *client.Client, boundary, from, to string, amount int64) error {
	if from == "open" { // if no event names the account
		opened := client.NewEvent{Type: "AccountOpened", Data: map[string]any{"account": to, "balance": amount}}
		_, err := c.Save(ctx, boundary, client.IfUnchanged(about(to), client.Position{}), opened)
		return err
	}
	both := append(about(from), about(to)...)
	decision, err := client.Decide(ctx, c, boundary, both, fold, func(b balances) ([]client.NewEvent, error) {
		switch _, known := b[to]; {
		case from == to || amount <= 0:
			return nil, errors.New("the accounts must differ, and the amount be positive")
		case !known:
			return nil, fmt.Errorf("there is no account %q", to)
		case b[from] < amount:
			return nil, fmt.Errorf("the balance does not suffice: %s has %d", from, b[from])
		}
		transferred := map[string]any{"from": from, "to": to, "amount": amount}
		return []client.NewEvent{{Type: "MoneyTransferred", Data: transferred}}, nil
	})
	if err == nil {
		fmt.Printf("%s has %d, %s has %d\n", from, decision.State[from]-amount, to, decision.State[to]+amount)
	}
	return err
}
