package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oexza/orisun/client"
)

func TestSaveAndGet(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	var last client.Position
	for i := range 25 {
		last = save(t, c, boundary, client.NewEvent{
			ID: "e" + strconv.Itoa(i), Type: "Counted", Data: map[string]any{"n": i, "even": i%2 == 0, "big": int64(1)<<60 + 1},
		})
	}
	events := collect(t, c, boundary, nil, client.PageSize(10))
	if len(events) != 25 || events[24].Position != last || events[24].SavedAt.IsZero() {
		t.Fatalf("%d events, the last at %v: %+v", len(events), last, events[24])
	}
	var data struct {
		N   int
		Big int64
	}
	if err := events[24].Decode(&data); err != nil || data.N != 24 || data.Big != 1<<60+1 {
		t.Errorf("%+v, %v", data, err)
	}
	for name, test := range map[string]struct {
		criteria client.Criteria
		options  []client.GetOption
		want     string
	}{
		"after":            {nil, []client.GetOption{client.After(events[22].Position)}, "e23 e24"},
		"from":             {nil, []client.GetOption{client.From(events[22].Position)}, "e22 e23 e24"},
		"after, backward":  {nil, []client.GetOption{client.After(events[2].Position), client.Backward()}, "e1 e0"},
		"limit":            {nil, []client.GetOption{client.Limit(3), client.PageSize(2)}, "e0 e1 e2"},
		"limit, backward":  {nil, []client.GetOption{client.Limit(3), client.PageSize(2), client.Backward()}, "e24 e23 e22"},
		"one tag":          {client.Any(client.Where("n", "7")), nil, "e7"},
		"two tags":         {client.Any(client.Where("n", "7").Where("even", "true")), nil, ""},
		"two criteria":     {client.Any(client.Where("n", "7"), client.Where("n", "3")), nil, "e3 e7"},
		"a type and a tag": {client.Any(client.Type("Counted").Where("n", "7"), client.Type("Other")), nil, "e7"},
		"a page exactly": {
			client.Any(client.Where("even", "false")),
			[]client.GetOption{client.PageSize(12)},
			"e1 e3 e5 e7 e9 e11 e13 e15 e17 e19 e21 e23",
		},
	} {
		if got := ids(collect(t, c, boundary, test.criteria, test.options...)); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestACriterionIsNotChangedByWhatIsMadeOfIt(t *testing.T) {
	alice := client.Where("a", "1")
	one, two := alice.Where("b", "2"), alice.Where("c", "3")
	if fmt.Sprint(alice, one, two) != "[{a 1}] [{a 1} {b 2}] [{a 1} {c 3}]" {
		t.Error(alice, one, two)
	}
}

func TestBadOptionsAreErrors(t *testing.T) {
	c := dial(t, shared.URL)
	for name, options := range map[string][]client.GetOption{
		"a page of none": {client.PageSize(0)}, "a page too large": {client.PageSize(client.MaxPageSize + 1)},
		"a negative limit": {client.Limit(-1)}, "both": {client.After(client.Position{}), client.From(client.Position{})},
	} {
		for _, err := range c.Get(t.Context(), "orisun_test_1", nil, options...) {
			if !errors.Is(err, client.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	nothing := func(int) ([]client.NewEvent, error) { return nil, nil }
	ignore := func(*int, client.Event) error { return nil }
	_, err := client.Decide(t.Context(), c, "orisun_test_1", nil, ignore, nothing, client.Attempts(0))
	if !errors.Is(err, client.ErrInvalid) {
		t.Error(err)
	}
}

// What is wrong with a call is said with ErrInvalid and without a panic.
func TestWrongInputIsErrInvalid(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	save(t, c, boundary, client.NewEvent{Type: "T"})
	nothing := func(int) ([]client.NewEvent, error) { return nil, nil }
	store := func(event client.NewEvent) error {
		_, err := c.Save(t.Context(), boundary, client.Always, event)
		return err
	}
	subscribe := func(s client.Subscription) error {
		s.Name = "s"
		_, err := c.CreateSubscription(t.Context(), boundary, s, client.Start{})
		return err
	}
	consume := func(subscription string, options ...client.ConsumeOption) error {
		handle := func(context.Context, client.Delivery) error { return nil }
		return c.Consume(t.Context(), boundary, subscription, handle, options...)
	}
	follow := func(boundary string, criteria client.Criteria) error {
		return c.Handle(t.Context(), boundary, criteria, func(context.Context, client.Event) error { return nil })
	}
	tooMany := client.AnyField([]string{"account", "from", "to"}, strings.Split(strings.Repeat("alice ", 85), " ")...)
	for name, call := range map[string]func() error{
		"no fold": func() error {
			_, err := client.Decide[int](t.Context(), c, boundary, nil, nil, nothing)
			return err
		},
		"no decide": func() error {
			_, err := client.Decide[int](t.Context(), c, boundary, nil, client.Count, nil)
			return err
		},
		"no handler of Handle":  func() error { return c.Handle(t.Context(), boundary, nil, nil) },
		"no handler of Consume": func() error { return c.Consume(t.Context(), boundary, "s", nil) },
		"a window too large":    func() error { return consume("s", client.Window(10_001)) },
		"too many handlers":     func() error { return consume("s", client.Concurrency(10_001)) },
		"negative partitions":   func() error { return subscribe(client.Subscription{PartitionKey: "k", Partitions: -1}) },
		"negative refusals":     func() error { return subscribe(client.Subscription{MaxRefusals: -1}) },
		"no JSON":               func() error { return store(client.NewEvent{Type: "T", Data: make(chan int)}) },
		"no JSON as metadata":   func() error { return store(client.NewEvent{Type: "T", Metadata: make(chan int)}) },
		"no object":             func() error { return store(client.NewEvent{Type: "T", Data: []byte(`[1]`)}) },
		"no UTF-8":              func() error { return store(client.NewEvent{Type: "T\xff"}) },
		"no UTF-8 to follow":    func() error { return follow(boundary, client.Any(client.Type("T\xff"))) },
		"no UTF-8 to consume":   func() error { return consume("s\xff") },
		"no boundary":           func() error { return follow("", nil) },
		"3 fields × 86 values":  func() error { return follow(boundary, tooMany) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, client.ErrInvalid) || errors.Is(err, client.ErrInternal) {
				t.Error(err)
			}
		})
	}
}

// A search for none of the fields or values must not become one for every event, as nil criteria are.
func TestAnyFieldWithoutFieldsOrValuesIsErrInvalid(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	save(t, c, boundary, client.NewEvent{Type: "T"})
	for name, call := range map[string]func(client.Criteria) error{
		"Get": func(none client.Criteria) error {
			for _, err := range c.Get(t.Context(), boundary, none) {
				return err
			}
			return nil
		},
		"Follow": func(none client.Criteria) error {
			for _, err := range c.Follow(t.Context(), boundary, none) {
				return err
			}
			return nil
		},
		"Latest": func(none client.Criteria) error {
			_, err := c.Latest(t.Context(), boundary, none)
			return err
		},
		"Explain": func(none client.Criteria) error {
			_, err := c.Explain(t.Context(), boundary, none)
			return err
		},
		"Save": func(none client.Criteria) error {
			condition := client.IfUnchanged(none, client.Position{})
			_, err := c.Save(t.Context(), boundary, condition, client.NewEvent{Type: "T"})
			return err
		},
		"Decide": func(none client.Criteria) error {
			decide := func(int) ([]client.NewEvent, error) { return client.One("T", nil), nil }
			_, err := client.Decide(t.Context(), c, boundary, none, client.Count, decide)
			return err
		},
		"CreateSubscription": func(none client.Criteria) error {
			_, err := c.CreateSubscription(t.Context(), boundary, client.Subscription{Name: "s", Criteria: none}, client.Start{})
			return err
		},
	} {
		for missing, none := range map[string]client.Criteria{
			"fields": client.AnyField(nil, "alice"), "values": client.AnyField([]string{"account"}),
		} {
			err := call(none)
			if !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), "AnyField needs a field and a value") {
				t.Errorf("%s without %s: %v", name, missing, err)
			}
		}
	}
}

func TestNilOfAnyTypeIsAnEmptyObject(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	for _, data := range []any{nil, json.RawMessage(nil), []byte(nil), map[string]int(nil), (*struct{})(nil)} {
		decide := func(int) ([]client.NewEvent, error) {
			return []client.NewEvent{{Type: "T", Data: data, Metadata: data}}, nil
		}
		decision, err := client.Decide(t.Context(), c, boundary, nil, client.Count, decide)
		if err != nil {
			t.Errorf("%T: %v", data, err)
			continue
		}
		for event, err := range c.Get(t.Context(), boundary, nil, client.From(decision.Position)) {
			decided := decision.Events[0]
			if err != nil || string(event.Data) != "{}" || string(decided.Data) != "{}" || string(decided.Metadata) != "{}" {
				t.Errorf("%T: %s is stored, %s and %s decided; %v", data, event.Data, decided.Data, decided.Metadata, err)
			}
		}
	}
}

func TestWhatMarshalReturnsIsSentAsItStands(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	save(t, c, boundary, client.NewEvent{Type: "T", Data: []byte(`{"n": 1}`), Metadata: []byte(nil)})
	if got := collect(t, c, boundary, client.Any(client.Where("n", "1"))); len(got) != 1 {
		t.Error(got)
	}
	if got := collect(t, c, boundary, nil, client.Limit(0)); len(got) != 0 {
		t.Errorf("Limit(0) returned %v", got)
	}
}

func TestErrors(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	first := save(t, c, boundary, client.NewEvent{ID: "a", Type: "T", Data: map[string]int{"x": 1}})
	second := save(t, c, boundary, client.NewEvent{ID: "b", Type: "U", Data: map[string]int{"x": 1}})

	x := client.Any(client.Where("x", "1"))
	_, err := c.Save(t.Context(), boundary, client.IfUnchanged(x, first), client.NewEvent{Type: "T"})
	var conflict *client.ConflictError
	if !errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrAlreadyExists) || !errors.As(err, &conflict) ||
		conflict.Expected != first || conflict.Actual != second || conflict.EventID != "b" || conflict.EventType != "U" {
		t.Errorf("%v: %+v", err, conflict)
	}
	var failed *client.Error
	if !errors.As(err, &failed) || failed.Reason != "CONTEXT_CHANGED" {
		t.Errorf("%+v", failed)
	}
	stale, retried := client.IfUnchanged(x, first), client.NewEvent{ID: "c", Type: "T"}
	if again, err := c.Save(t.Context(), boundary, client.IfUnchanged(x, second), retried); err != nil {
		t.Error(err)
	} else if repeated, err := c.Save(t.Context(), boundary, stale, retried); err != nil || repeated != again {
		t.Errorf("a retry: %v, %v; the first: %v", repeated, err, again)
	}
	_, err = c.Save(t.Context(), boundary, client.IfUnchanged(nil, second), client.NewEvent{Type: "T"})
	if !errors.Is(err, client.ErrConflict) {
		t.Errorf("nil criteria are the whole boundary: %v", err)
	}
	_, err = c.Save(t.Context(), boundary, client.Always, client.NewEvent{ID: "a", Type: "Other"})
	if !errors.Is(err, client.ErrEventIDReused) {
		t.Error(err)
	}
	_, err = c.Save(t.Context(), boundary, client.Always, client.NewEvent{Data: []int{1}})
	if !errors.Is(err, client.ErrInvalid) || !errors.As(err, &failed) || len(failed.Fields) != 2 ||
		failed.Fields[1].Path != "events[0].data" {
		t.Errorf("%v: %+v", err, failed)
	}
	if strings.Count(err.Error(), "events[0].data") != 1 {
		t.Errorf("it names a field twice: %v", err)
	}
	_, err = c.Save(t.Context(), "nowhere", client.Always, client.NewEvent{Type: "T"})
	if !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
	if _, err = c.Save(t.Context(), boundary, client.Always, client.NewEvent{Type: "T", Data: func() {}}); err == nil {
		t.Error("a function is no JSON")
	}
	for _, err := range c.Follow(t.Context(), "nowhere", nil) {
		if !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
	}
	wrong := dial(t, shared.URL, client.WithCredentials("admin", "wrong-password"))
	if err := wrong.Ping(t.Context()); !errors.Is(err, client.ErrUnauthenticated) ||
		strings.Contains(err.Error(), "wrong-password") {
		t.Error(err)
	}
	none := dial(t, "grpc://"+shared.Address)
	if err := none.Ping(t.Context()); !errors.Is(err, client.ErrUnauthenticated) {
		t.Error(err)
	}
}

func TestNoServerIsAnErrorWithinTheDeadline(t *testing.T) {
	nowhere := dial(t, "grpc://a:b@127.0.0.1:1,127.0.0.1:2", client.WithRetryTime(300*time.Millisecond))
	err := nowhere.Ping(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}

func TestLatest(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	alice, bob := client.Where("account", "alice"), client.Where("account", "bob")
	if latest, err := c.Latest(t.Context(), boundary, client.Any(alice)); err != nil || !latest.Position.IsStart() ||
		latest.Events[0] != nil {
		t.Errorf("%+v, %v", latest, err)
	}
	save(t, c, boundary, client.NewEvent{ID: "1", Type: "Opened", Data: map[string]string{"account": "alice"}})
	second := save(t, c, boundary, client.NewEvent{ID: "2", Type: "Closed", Data: map[string]string{"account": "alice"}})
	latest, err := c.Latest(t.Context(), boundary, client.Any(bob, alice))
	if err != nil || latest.Position != second || latest.Events[0] != nil || latest.Events[1].ID != "2" {
		t.Errorf("%+v, %v", latest, err)
	}
}

func TestFollow(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	first := save(t, c, boundary, client.NewEvent{ID: "1", Type: "A"}, client.NewEvent{ID: "2", Type: "B"})
	var following sync.WaitGroup
	for name, test := range map[string]struct {
		criteria client.Criteria
		options  []client.FollowOption
		want     string
	}{
		"all":          {nil, nil, "1 2 3 4"},
		"since":        {nil, []client.FollowOption{client.Since(first)}, "3 4"},
		"of a type":    {client.Any(client.Type("A"), client.Type("End")), nil, "1 3 4"},
		"by a name":    {nil, []client.FollowOption{client.As("projection")}, "1 2 3 4"},
		"from scratch": {nil, []client.FollowOption{client.SinceNow(), client.Since(client.Position{})}, "1 2 3 4"},
	} {
		following.Go(func() {
			var got []client.Event
			for event, err := range c.Follow(t.Context(), boundary, test.criteria, test.options...) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if got = append(got, event); event.Type == "End" {
					break
				}
			}
			if ids(got) != test.want {
				t.Errorf("%s: %q, want %q", name, ids(got), test.want)
			}
		})
	}
	save(t, c, boundary, client.NewEvent{ID: "3", Type: "A"})
	save(t, c, boundary, client.NewEvent{ID: "4", Type: "End"})
	following.Wait()
}

func TestFollowSinceNowLeavesOutWhatIsStored(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	save(t, c, boundary, client.NewEvent{Type: "Old"})
	ctx, cancel := cancelable(t)
	came := make(chan error, 1)
	go func() {
		for event, err := range c.Follow(ctx, boundary, nil, client.SinceNow()) {
			if err == nil && event.Type != "New" {
				err = fmt.Errorf("an event of type %s came", event.Type)
			}
			came <- err
			return
		}
	}()
	for { // until one is stored after the subscription has begun
		save(t, c, boundary, client.NewEvent{Type: "New"})
		select {
		case err := <-came:
			if err != nil {
				t.Error(err)
			}
			cancel()
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func TestASubscriptionEndsWithItsContextItsHandlerOrItsReplacement(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	save(t, c, boundary, client.NewEvent{Type: "A"})
	mine := errors.New("mine")
	err := c.Handle(t.Context(), boundary, nil, func(context.Context, client.Event) error { return mine })
	if !errors.Is(err, mine) {
		t.Error(err)
	}
	ctx, cancel := cancelable(t)
	err = c.Handle(ctx, boundary, nil, func(context.Context, client.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = cancelable(t)
	err = c.Handle(ctx, boundary, nil, func(context.Context, client.Event) error {
		return c.Handle(ctx, boundary, nil, func(context.Context, client.Event) error { return mine }, client.As("one"))
	}, client.As("one"))
	if !errors.Is(err, mine) {
		t.Error(err)
	}
	cancel()
	replaced := make(chan error, 1)
	began := make(chan struct{}, 1)
	note := func(context.Context, client.Event) error { began <- struct{}{}; return nil }
	go func() { replaced <- c.Handle(t.Context(), boundary, nil, note, client.As("two")) }()
	<-began
	fail := func(context.Context, client.Event) error { return mine }
	if err := c.Handle(t.Context(), boundary, nil, fail, client.As("two")); !errors.Is(err, mine) {
		t.Error(err)
	}
	if err := <-replaced; !errors.Is(err, client.ErrReplaced) {
		t.Error(err)
	}
}
