package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	orisunpb "github.com/oexza/orisun/proto"
)

// workload is a kind of load. Its first row in the results has its name, the others the name and their suffix.
type workload struct {
	name  string
	about string
	rows  []string
	reads bool // needs seeded events
	// keys are the fields that Config.CreateIndex makes an index for, beside the contexts' key.
	keys  []string
	start func(ctx context.Context, s *Session, m *measurement, clients int) (*load, error)
}

// pageReaders are the readers of append-beside-readers.
const pageReaders = 4

// workloads are measured in this order. Workloads that read the seeded events come before those that add many events,
// after which PostgreSQL vacuums for a while.
var workloads = []workload{
	{name: "append-1", about: "saves of 1 event, each under a context", rows: []string{""}, start: appends(1, true)},
	{
		name: "append-beside-readers", about: "append-1 beside 4 readers of pages, /readers",
		rows: []string{"", "/readers"}, reads: true, start: startAppendBesideReaders,
	},
	{name: "read-10", about: "the newest 10 events of a context", rows: []string{""}, reads: true, start: startRead},
	{name: "page", about: "pages of 1,000 events, forwards", rows: []string{""}, reads: true, start: startPage},
	{
		name: "append-1-unconditional", about: "saves of 1 event without a context", rows: []string{""},
		start: appends(1, false),
	},
	{
		name: "append-100", about: "saves of 100 events, each under a context", rows: []string{""},
		start: appends(100, true),
	},
	{
		name: "append-100-unconditional", about: "saves of 100 events without a context", rows: []string{""},
		start: appends(100, false),
	},
	{
		name: "latency", about: "append-1 until a subscriber has it; /saves: the save",
		rows: []string{"", "/saves"}, start: startLatency,
	},
	{name: "ping", about: "authenticated Ping: what gRPC itself can do", rows: []string{""}, start: startPing},
	{
		name: "hot", about: "saves into one context; /conflicts read it again",
		rows: []string{"", "/conflicts"}, start: startHot,
	},
	{
		name: "decide", about: "read a context, decide, save; /conflicts: retried",
		rows: []string{"", "/conflicts"}, keys: []string{fromKey, toKey}, start: deciders(payments),
	},
	{
		name: "transfer", about: "decide with 2 contexts and 3 events a save",
		rows: []string{"", "/conflicts"}, keys: []string{accountKey}, start: deciders(transfers),
	},
}

// Workloads are the names that Config.Workloads takes.
func Workloads() []string {
	names := make([]string, len(workloads))
	for i, w := range workloads {
		names[i] = w.name
	}
	return names
}

// AboutWorkloads is a line for each workload, for people.
func AboutWorkloads() string {
	var text strings.Builder
	for _, w := range workloads {
		fmt.Fprintf(&text, "  %-25s %s\n", w.name, w.about)
	}
	return text.String()
}

func findWorkload(name string) (workload, error) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	if i < 0 {
		return workload{}, fmt.Errorf("there is no workload %q: choose of %s", name, strings.Join(Workloads(), ", "))
	}
	return workloads[i], nil
}

func readsSeeded(name string) bool {
	w, err := findWorkload(name)
	return err == nil && w.reads
}

// each makes as many clients.
func each(clients int, newClient func(i int) client) []client {
	all := make([]client, clients)
	for i := range all {
		all[i] = newClient(i)
	}
	return all
}

func startPing(_ context.Context, s *Session, _ *measurement, clients int) (*load, error) {
	return &load{clients: each(clients, func(i int) client {
		store := s.store(i)
		return func(ctx context.Context, _ time.Time) outcome {
			_, err := store.Ping(ctx, &orisunpb.PingRequest{})
			return outcome{err: err}
		}
	})}, nil
}

func appends(events int, conditionally bool) func(context.Context, *Session, *measurement, int) (*load, error) {
	return func(_ context.Context, s *Session, _ *measurement, clients int) (*load, error) {
		return &load{clients: each(clients, func(i int) client {
			a := s.appender(i, clients, events)
			a.conditionally = conditionally
			return func(ctx context.Context, _ time.Time) outcome {
				a.decide()
				return a.save(ctx)
			}
		})}, nil
	}
}

func startAppendBesideReaders(ctx context.Context, s *Session, m *measurement, clients int) (*load, error) {
	l, err := appends(1, true)(ctx, s, m, clients)
	if err != nil {
		return nil, err
	}
	l.beside = each(pageReaders, func(i int) client { return s.pageReader(clients+i, i, pageReaders, 1) })
	return l, nil
}

func startRead(_ context.Context, s *Session, _ *measurement, clients int) (*load, error) {
	return &load{clients: each(clients, func(i int) client {
		store, random := s.store(i), s.random(i)
		seeded := min(len(s.contexts), s.config.SeedEvents)
		return func(ctx context.Context, _ time.Time) outcome {
			page, err := store.GetEvents(ctx, &orisunpb.GetEventsRequest{
				Boundary: s.config.Boundary, Query: about(s.contexts[random.IntN(seeded)].value), Count: 10,
				Direction: orisunpb.Direction_DESC,
			})
			return read(page, err)
		}
	})}, nil
}

func startPage(_ context.Context, s *Session, _ *measurement, clients int) (*load, error) {
	return &load{clients: each(clients, func(i int) client { return s.pageReader(i, i, clients, 0) })}, nil
}

// pageReader is the client with a number. Readers begin at different pages and read page by page, from the last
// seeded one to the first.
func (s *Session) pageReader(client, reader, readers, row int) client {
	store, at := s.store(client), reader*len(s.pages)/readers
	return func(ctx context.Context, _ time.Time) outcome {
		page, err := store.GetEvents(ctx, &orisunpb.GetEventsRequest{
			Boundary: s.config.Boundary, FromPosition: s.pages[at], Count: pageSize,
		})
		at = (at + 1) % len(s.pages)
		o := read(page, err)
		o.row = row
		return o
	}
}

var errNothingRead = errors.New("the answer holds no event, though there are some")

func read(page *orisunpb.GetEventsResponse, err error) outcome {
	if err == nil && len(page.GetEvents()) == 0 {
		err = errNothingRead
	}
	return outcome{events: len(page.GetEvents()), err: err}
}

// appender saves into contexts of its own.
type appender struct {
	store         orisunpb.EventStoreClient
	boundary      string
	author        *author
	contexts      []*ownedContext
	conditionally bool

	// The next save.
	context *ownedContext
	events  []*orisunpb.EventToSave
}

// appender is that of the client with a number, of so many clients. Clients do not share contexts.
func (s *Session) appender(client, clients, events int) *appender {
	a := &appender{
		store: s.store(client), boundary: s.config.Boundary, author: s.author(client), events: newEvents(events),
		conditionally: true,
	}
	for i := client; i < len(s.contexts); i += clients {
		a.contexts = append(a.contexts, &s.contexts[i])
	}
	return a
}

// decide chooses a context and writes the events of the next save.
func (a *appender) decide() {
	a.context = a.contexts[a.author.random.IntN(len(a.contexts))]
	for _, event := range a.events {
		a.author.write(event, field{ContextKey, a.context.value})
	}
}

// save saves the events that decide wrote.
func (a *appender) save(ctx context.Context) outcome {
	owned := a.context
	if owned.unsure {
		last, err := newest(ctx, a.store, a.boundary, about(owned.value))
		if err != nil {
			return outcome{err: err}
		}
		owned.last, owned.unsure = last, false
	}
	request := unconditional(a.boundary, a.events)
	if a.conditionally {
		request = conditional(a.boundary, owned.value, owned.last, a.events)
	}
	result, err := a.store.SaveEvents(ctx, request)
	if err != nil {
		owned.unsure = true
		return outcome{err: err}
	}
	owned.last = result.GetLogPosition()
	return outcome{events: len(a.events)}
}
