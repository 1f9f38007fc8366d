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

// event has the fields of AccountOpened (Account, Balance) and of MoneyTransferred (From, To, Amount), in cents.
type event struct {
	Account, From, To string
	Balance, Amount   int64
}

func main() {
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	flag.Parse()
	from, to := flag.Arg(0), flag.Arg(1)
	amount, amountErr := strconv.ParseInt(flag.Arg(2), 10, 64)
	c, err := client.Dial(*url)
	if err = errors.Join(err, amountErr); err != nil {
		log.Fatal("transfer: ", err)
	}
	var about client.Criteria // every event that names one of the accounts: a transfer names two
	for _, name := range []string{from, to} {
		about = append(about, client.Where("account", name), client.Where("from", name), client.Where("to", name))
	}
	fold := client.FoldData(func(balances *map[string]int64, eventType string, e event) {
		if eventType == "AccountOpened" {
			(*balances)[e.Account] += e.Balance
		} else {
			(*balances)[e.From] -= e.Amount
			(*balances)[e.To] += e.Amount
		}
	})
	decide := func(balances map[string]int64) ([]client.NewEvent, error) {
		switch _, known := balances[to]; {
		case from == "open" && known:
			return nil, fmt.Errorf("account %q is open already", to)
		case from == "open":
			return []client.NewEvent{{Type: "AccountOpened", Data: map[string]any{"account": to, "balance": amount}}}, nil
		case !known:
			return nil, fmt.Errorf("there is no account %q", to)
		case from == to || amount <= 0:
			return nil, errors.New("the accounts must differ, and the amount be positive")
		case balances[from] < amount:
			return nil, fmt.Errorf("the balance does not suffice: %s has %d", from, balances[from])
		}
		transferred := map[string]any{"from": from, "to": to, "amount": amount}
		return []client.NewEvent{{Type: "MoneyTransferred", Data: transferred}}, nil
	}
	decision, err := client.Decide(context.Background(), c, *boundary, about, fold, decide)
	if err != nil {
		log.Fatal("transfer: ", err)
	}
	fmt.Printf("%s has %d\n", to, decision.State[to]+amount)
}
