// Command transfer moves money between two accounts, as docs/tutorial.md tells: it reads what was ever said about both, decides, and saves the
// transfer only if nothing was said about either of them meanwhile.
//
//	go run ./examples/transfer -open alice=100,bob=0
//	go run ./examples/transfer -from alice -to bob -amount 30
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// The events. A transfer is one event about two accounts: both find it, as each criterion asks for one of its fields.
const (
	accountOpened    = "AccountOpened"
	moneyTransferred = "MoneyTransferred"
)

type opened struct {
	Account string `json:"account"`
	Balance int64  `json:"balance"` // in cents
}

type transferred struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"` // in cents
}

var (
	errNoAccount    = errors.New("there is no such account")
	errInsufficient = errors.New("the balance does not suffice")
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "transfer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("transfer", flag.ContinueOnError)
	server := flags.String("server", "localhost:5005", "host:port of Orisun")
	boundary := flags.String("boundary", "orisun_test_1", "where the events are")
	user := flags.String("user", "admin:changeit", "username:password")
	open := flags.String("open", "", "accounts to open, each name=cents")
	from := flags.String("from", "", "who pays")
	to := flags.String("to", "", "who gets it")
	amount := flags.Int64("amount", 0, "cents")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := grpc.NewClient(*server, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(credentials(*user)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	bank := bank{orisunpb.NewEventStoreClient(conn), *boundary}

	if *open != "" {
		for account := range strings.SplitSeq(*open, ",") {
			name, text, _ := strings.Cut(account, "=")
			balance, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("-open is %q: it must be name=cents pairs with commas between them", *open)
			}
			if err := bank.open(ctx, name, balance); err != nil {
				return err
			}
		}
		return nil
	}
	balances, err := bank.transfer(ctx, transferred{*from, *to, *amount})
	if err != nil {
		return err
	}
	fmt.Printf("%s has %d, %s has %d\n", *from, balances[*from], *to, balances[*to])
	return nil
}

type bank struct {
	store    orisunpb.EventStoreClient
	boundary string
}

// about is what there is to know about some accounts: their context.
func about(accounts ...string) []*orisunpb.Criterion {
	var criteria []*orisunpb.Criterion
	for _, account := range accounts {
		for _, field := range []string{"account", "from", "to"} {
			criteria = append(criteria, &orisunpb.Criterion{Tags: []*orisunpb.Tag{{Key: field, Value: account}}})
		}
	}
	return criteria
}

// open opens an account, if nothing was ever said about one of that name.
func (b bank) open(ctx context.Context, account string, balance int64) error {
	nothing := &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	err := b.save(ctx, about(account), nothing, accountOpened, opened{account, balance})
	if status.Code(err) == codes.AlreadyExists {
		return fmt.Errorf("the account %s is open already", account)
	}
	return err
}

// transfer decides again until what it decided on still holds. It answers both balances.
func (b bank) transfer(ctx context.Context, wanted transferred) (map[string]int64, error) {
	for {
		balances, seen, err := b.read(ctx, about(wanted.From, wanted.To))
		if err != nil {
			return nil, err
		}
		if err := decide(balances, wanted); err != nil {
			return nil, err
		}
		err = b.save(ctx, about(wanted.From, wanted.To), seen, moneyTransferred, wanted)
		if status.Code(err) == codes.AlreadyExists {
			continue // somebody was faster
		}
		if err != nil {
			return nil, err
		}
		balances[wanted.From] -= wanted.Amount
		balances[wanted.To] += wanted.Amount
		return balances, nil
	}
}

// decide is the rule: both accounts exist, they are two, and the payer has the money.
func decide(balances map[string]int64, wanted transferred) error {
	for _, account := range []string{wanted.From, wanted.To} {
		if _, exists := balances[account]; !exists {
			return fmt.Errorf("%w: %q", errNoAccount, account)
		}
	}
	switch {
	case wanted.From == wanted.To:
		return fmt.Errorf("%s cannot pay itself", wanted.From)
	case wanted.Amount <= 0:
		return fmt.Errorf("the amount is %d: it must be positive", wanted.Amount)
	case balances[wanted.From] < wanted.Amount:
		return fmt.Errorf("%w: %s has %d", errInsufficient, wanted.From, balances[wanted.From])
	}
	return nil
}

// read folds the context into balances, and tells the position of the last event it saw.
func (b bank) read(ctx context.Context, criteria []*orisunpb.Criterion) (balances map[string]int64, seen *orisunpb.Position, err error) {
	balances, seen = make(map[string]int64), &orisunpb.Position{TransactionId: -1, GlobalId: -1}
	for {
		const count = 1000
		page, err := b.store.GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: b.boundary, Query: &orisunpb.Query{Criteria: criteria}, AfterPosition: seen, Count: count,
		})
		if err != nil {
			return nil, nil, err
		}
		for _, event := range page.GetEvents() {
			if err := apply(balances, event); err != nil {
				return nil, nil, fmt.Errorf("event %s: %w", event.GetEventId(), err)
			}
			seen = event.GetPosition()
		}
		if len(page.GetEvents()) < count {
			return balances, seen, nil
		}
	}
}

func apply(balances map[string]int64, event *orisunpb.Event) error {
	switch event.GetEventType() {
	case accountOpened:
		var e opened
		if err := json.Unmarshal([]byte(event.GetData()), &e); err != nil {
			return err
		}
		balances[e.Account] += e.Balance
	case moneyTransferred:
		var e transferred
		if err := json.Unmarshal([]byte(event.GetData()), &e); err != nil {
			return err
		}
		// Of third parties only the dealings with these accounts are in the context, not that they were opened.
		if _, known := balances[e.From]; known {
			balances[e.From] -= e.Amount
		}
		if _, known := balances[e.To]; known {
			balances[e.To] += e.Amount
		}
	}
	return nil
}

// save stores one event, if nothing that matches the context was stored after what was seen. The same request may be sent again: a save
// is stored once.
func (b bank) save(ctx context.Context, criteria []*orisunpb.Criterion, seen *orisunpb.Position, eventType string, event any) error {
	data, err := json.Marshal(event)
	if err != nil {
		return err
	}
	_, err = b.store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
		Boundary: b.boundary,
		Query:    &orisunpb.SaveQuery{ExpectedPosition: seen, Criteria: criteria},
		Events:   []*orisunpb.EventToSave{{EventId: rand.Text(), EventType: eventType, Data: string(data)}},
	})
	return err
}

// credentials are username:password, sent with every call.
type credentials string

// GetRequestMetadata is Basic authentication.
func (c credentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(c))}, nil
}

// RequireTransportSecurity is false: this is an example on one machine.
func (credentials) RequireTransportSecurity() bool { return false }
