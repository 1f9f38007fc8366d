// Command transfer opens accounts and moves money between them, as docs/tutorial.md describes: it reads all events
// about the accounts, decides, and saves its own event only if no other one about them came meanwhile.
//
//	transfer open alice 100
//	transfer alice bob 30
package main

import (
	"context"
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

type balances map[string]int64

func fold(b *balances, eventType string, e event) {
	if eventType == "AccountOpened" {
		(*b)[e.Account] += e.Balance
	} else {
		(*b)[e.From] -= e.Amount
		(*b)[e.To] += e.Amount
	}
}

// decide is the rule: an account is opened once, and pays only what it has.
func decide(b balances, from, to string, cents int64) ([]client.NewEvent, error) {
	_, payer := b[from]
	_, payee := b[to]
	switch opening := from == "open"; {
	case opening && payee:
		return nil, fmt.Errorf("account %s is open already", to)
	case opening && cents >= 0 && to != "":
		return client.One("AccountOpened", map[string]any{"account": to, "balance": cents}), nil
	case opening || cents <= 0 || from == to:
		return nil, fmt.Errorf("the amount must be positive, and the accounts must differ and have names")
	case !payer || !payee:
		return nil, fmt.Errorf("%s and %s are not both open accounts", from, to)
	case b[from] < cents:
		return nil, fmt.Errorf("the balance does not suffice: %s has %d", from, b[from])
	case b[to]+cents < 0: // beyond 2^63
		return nil, fmt.Errorf("the balance of %s becomes too large", to)
	}
	return client.One("MoneyTransferred", map[string]any{"from": from, "to": to, "amount": cents}), nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("transfer: ")
	url := flag.String("url", "grpc://admin:changeit@localhost:5005", "the server")
	boundary := flag.String("boundary", "orisun_test_1", "where the events are")
	flag.Parse()
	from, to := flag.Arg(0), flag.Arg(1)
	cents, err := strconv.ParseInt(flag.Arg(2), 10, 64)
	if err != nil || flag.NArg() != 3 {
		log.Fatalf("usage: transfer open ACCOUNT CENTS, or transfer FROM TO CENTS; not %q", flag.Args())
	}
	c, err := client.Dial(*url)
	if err != nil {
		log.Fatal(err)
	}
	about := client.AnyField([]string{"account", "from", "to"}, from, to)
	decision, err := client.Decide(context.Background(), c, *boundary, about, client.FoldData(fold),
		func(b balances) ([]client.NewEvent, error) { return decide(b, from, to, cents) })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s has %d\n", to, decision.State[to]+cents)
}
