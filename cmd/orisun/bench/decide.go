package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orisunpb "github.com/oexza/orisun/proto"
)

// The fields of an event's data in the workloads decide and transfer.
const (
	fromKey    = "bench_from"
	toKey      = "bench_to"
	accountKey = "bench_account"
)

// conflicts is the row of saves that were rejected because their context had changed. The command reads its context
// again and retries.
const conflicts = 1

// decider is a client that works like an application's command: it reads its context by GetLatestByCriteria, decides,
// and saves its events under the same criteria. All deciders share the accounts, so contexts overlap.
type decider struct {
	store    orisunpb.EventStoreClient
	boundary string
	random   *rand.Rand
	accounts []string
	author   *author
}

// command makes the criteria and the events of the next command.
type command func(d *decider, config Config) ([]*orisunpb.Criterion, []*orisunpb.EventToSave)

func deciders(next command) func(context.Context, *Session, *measurement, int) (*load, error) {
	return func(_ context.Context, s *Session, m *measurement, clients int) (*load, error) {
		accounts := make([]string, s.config.Accounts)
		for i := range accounts {
			accounts[i] = fmt.Sprintf("%s-account-%06d", s.run, i)
		}
		return &load{clients: each(clients, func(i int) client {
			d := &decider{
				store: s.store(i), boundary: s.config.Boundary, random: s.random(i), author: s.author(i), accounts: accounts,
			}
			return func(ctx context.Context, _ time.Time) outcome {
				criteria, events := next(d, s.config)
				return d.decide(ctx, m, criteria, events)
			}
		})}, nil
	}
}

// decide runs one command until it is stored. A conflict is no failure: it counts in a row of its own.
func (d *decider) decide(
	ctx context.Context, m *measurement, criteria []*orisunpb.Criterion, events []*orisunpb.EventToSave,
) outcome {
	for {
		begun := time.Now()
		latest, err := d.store.GetLatestByCriteria(ctx, &orisunpb.GetLatestByCriteriaRequest{
			Boundary: d.boundary, Criteria: criteria,
		})
		if err != nil {
			return outcome{err: err}
		}
		_, err = d.store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{
			Boundary: d.boundary, Events: events,
			Query: &orisunpb.SaveQuery{ExpectedPosition: latestOf(latest), SubsetQuery: &orisunpb.Query{Criteria: criteria}},
		})
		if status.Code(err) != codes.AlreadyExists {
			return outcome{events: len(events), err: err}
		}
		m.observe(begun, outcome{row: conflicts})
	}
}

// latestOf is the latest position of an answer's events.
func latestOf(answer *orisunpb.GetLatestByCriteriaResponse) *orisunpb.Position {
	last := nothing()
	for _, result := range answer.GetResults() {
		if at := result.GetEvent().GetPosition(); at != nil && at.GetGlobalId() > last.GetGlobalId() {
			last = at
		}
	}
	return last
}

// some returns n different accounts.
func (d *decider) some(n int) []string {
	chosen := make([]string, 0, n)
	for len(chosen) < n {
		if account := d.accounts[d.random.IntN(len(d.accounts))]; !slices.Contains(chosen, account) {
			chosen = append(chosen, account)
		}
	}
	return chosen
}

// payments are commands of the workload decide. Each account that takes part is read from both sides, so criteria
// have two shapes.
func payments(d *decider, config Config) ([]*orisunpb.Criterion, []*orisunpb.EventToSave) {
	accounts := d.some(accountsOf(config.Criteria))
	criteria := make([]*orisunpb.Criterion, config.Criteria)
	for i := range criteria {
		criteria[i] = where([]string{fromKey, toKey}[i%2], accounts[i/2])
	}
	events := newEvents(config.Events)
	for _, event := range events {
		d.author.write(event, field{fromKey, accounts[0]}, field{toKey, accounts[len(accounts)-1]})
	}
	return criteria, events
}

// accountsOf is how many accounts a command of the workload decide reads: two criteria each, and at least the two of
// a payment.
func accountsOf(criteria int) int { return max(2, (criteria+1)/2) }

// transfers are commands of the workload transfer: two contexts, three events.
func transfers(d *decider, _ Config) ([]*orisunpb.Criterion, []*orisunpb.EventToSave) {
	accounts := d.some(2)
	events := newEvents(3)
	d.author.write(events[0], field{accountKey, accounts[0]})
	d.author.write(events[1], field{accountKey, accounts[1]})
	d.author.write(events[2], field{fromKey, accounts[0]}, field{toKey, accounts[1]})
	return []*orisunpb.Criterion{where(accountKey, accounts[0]), where(accountKey, accounts[1])}, events
}

func where(key, value string) *orisunpb.Criterion {
	return &orisunpb.Criterion{Tags: []*orisunpb.Tag{{Key: key, Value: value}}}
}
