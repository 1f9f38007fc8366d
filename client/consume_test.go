package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oexza/orisun/client"
)

// placed is the data of events that have a key.
type placed struct {
	Order string
	N     int
}

// saveOrders saves n events for each of the orders, in turns.
func saveOrders(t testing.TB, c *client.Client, boundary string, n int, orders ...string) (last client.Position) {
	t.Helper()
	for i := range n {
		for _, order := range orders {
			last = save(t, c, boundary, client.NewEvent{ID: order + strconv.Itoa(i), Type: "Placed", Data: placed{order, i}})
		}
	}
	return last
}

// subscribe creates a subscription that begins with the first event.
func subscribe(t testing.TB, c *client.Client, boundary string, s client.Subscription) {
	t.Helper()
	if _, err := c.CreateSubscription(t.Context(), boundary, s, client.Start{}); err != nil {
		t.Fatal(err)
	}
}

// consuming runs Consume until the test ends or the function is called, which returns its result.
func consuming(
	t testing.TB, c *client.Client, boundary, name string,
	handle func(context.Context, client.Delivery) error, options ...client.ConsumeOption,
) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // the test's ends before its clean-up
	ended := make(chan error, 1)
	go func() { ended <- c.Consume(ctx, boundary, name, handle, options...) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func waitFor(t testing.TB, c *client.Client, boundary, name string, at client.Position) {
	t.Helper()
	if checkpoint, err := c.WaitForCheckpoint(t.Context(), boundary, name, at); err != nil || checkpoint.Compare(at) < 0 {
		t.Fatalf("the checkpoint is %v, want %v: %v", checkpoint, at, err)
	}
}

func parked(t testing.TB, c *client.Client, boundary, name string) (all []client.ParkedEvent) {
	t.Helper()
	for event, err := range c.ListParked(t.Context(), boundary, name) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, event)
	}
	return all
}

func TestADurableSubscriptionIsCreatedReadResetAndDeleted(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	first := saveOrders(t, c, boundary, 1, "a")
	last := saveOrders(t, c, boundary, 1, "b", "c")
	definition := client.Subscription{
		Name: "mailer", Criteria: client.Any(client.Type("Placed").Where("Order", "b"), client.Where("Order", "c")),
		PartitionKey: "Order", Partitions: 4, AckTimeout: 2 * time.Second, MaxRefusals: 3, ParkFollowing: true,
	}
	for range 2 {
		created, err := c.CreateSubscription(t.Context(), boundary, definition, client.StartAfter(first))
		if err != nil || created.Checkpoint != first || created.Lag.Events != 2 || created.Lag.Age <= 0 {
			t.Errorf("%+v, %v", created, err)
		}
		if got, want := fmt.Sprintf("%+v", created.Subscription), fmt.Sprintf("%+v", definition); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	other := definition
	other.Partitions = 8
	_, err := c.CreateSubscription(t.Context(), boundary, other, client.Start{})
	if !errors.Is(err, client.ErrAlreadyExists) {
		t.Error(err)
	}
	other.Partitions = -1
	if _, err = c.CreateSubscription(t.Context(), boundary, other, client.Start{}); !errors.Is(err, client.ErrInvalid) {
		t.Error(err)
	}
	subscribe(t, c, boundary, client.Subscription{Name: "audit"})
	all, err := c.ListSubscriptions(t.Context(), boundary)
	if err != nil || len(all) != 2 || all[0].Name != "audit" || all[0].Partitions != 1 || all[1].Name != "mailer" {
		t.Errorf("%+v, %v", all, err)
	}
	for i, test := range []struct {
		at   client.Start
		want client.Position
	}{
		{client.StartNow(), last},
		{client.StartAfter(first), first},
		{client.StartAt(time.Now().Add(-time.Hour)), client.Position{}},
		{client.StartAt(time.Now().Add(time.Hour)), last},
		{client.Start{}, client.Position{}},
	} {
		reset, err := c.ResetSubscription(t.Context(), boundary, "mailer", test.at)
		if err != nil || reset.Checkpoint != test.want {
			t.Errorf("%d: at %v, want %v; %v", i, reset.Checkpoint, test.want, err)
		}
	}
	one, err := c.GetSubscription(t.Context(), boundary, "mailer")
	if err != nil || len(one.States) != 4 || one.States[3].Partition != 3 || one.Lag.Events != 3 {
		t.Errorf("%+v, %v", one, err)
	}
	if err := c.DeleteSubscription(t.Context(), boundary, "mailer"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		c.DeleteSubscription(t.Context(), boundary, "mailer"),
		c.Consume(t.Context(), boundary, "mailer", func(context.Context, client.Delivery) error { return nil }),
	} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Error(err)
		}
	}
}

func TestConsumeHandlesKeysAtTheSameTimeAndEachInOrder(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", PartitionKey: "Order"})
	last := saveOrders(t, c, boundary, 20, "a", "b", "c")
	var mu sync.Mutex
	busy, next, met := map[string]bool{}, map[string]int{}, make(chan struct{})
	consuming(t, c, boundary, "s", func(_ context.Context, d client.Delivery) error {
		var data placed
		if err := d.Decode(&data); err != nil {
			return err
		}
		mu.Lock()
		if busy[data.Order] || data.N != next[data.Order] || d.Count != 1 {
			t.Errorf("event %d of %s comes in delivery %d, want %d; another one is handled: %t",
				data.N, data.Order, d.Count, next[data.Order], busy[data.Order])
		}
		busy[data.Order] = true
		next[data.Order]++
		if len(busy) == 3 {
			close(met)
			busy["all met"] = true
		}
		mu.Unlock()
		<-met // the first event of each key waits for those of the others
		mu.Lock()
		defer mu.Unlock()
		busy[data.Order] = false
		return nil
	}, client.Concurrency(3), client.Window(30), client.ConsumerName("one"))
	waitFor(t, c, boundary, "s", last)
	state, err := c.GetSubscription(t.Context(), boundary, "s")
	if err != nil || len(state.Consumers) != 1 || state.Consumers[0].Name != "one" ||
		len(state.Consumers[0].Partitions) != 16 {
		t.Errorf("%+v, %v", state.Consumers, err)
	}
}

func TestWithoutAKeyAndOptionsTheOrderIsStrict(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s"})
	last := saveOrders(t, c, boundary, 5, "a", "b")
	var got []string
	caughtUp := make(chan client.Position, 10)
	stop := consuming(t, c, boundary, "s", func(_ context.Context, d client.Delivery) error {
		got = append(got, d.ID)
		if d.ID == "b1" && d.Count == 1 {
			return client.Later(time.Millisecond)
		}
		return nil
	}, client.OnCaughtUp(func(at client.Position) { caughtUp <- at }))
	waitFor(t, c, boundary, "s", last)
	if at := <-caughtUp; at != last {
		t.Errorf("caught up at %v, want %v", at, last)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if text := strings.Join(got, " "); text != "a0 b0 a1 b1 b1 a2 b2 a3 b3 a4 b4" {
		t.Error(text)
	}
}

func TestARefusedEventIsParkedReplayedAndSkipped(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", PartitionKey: "Order", MaxRefusals: 1, ParkFollowing: true})
	last := saveOrders(t, c, boundary, 2, "bad", "good")
	var mu sync.Mutex
	var healed bool
	replayed := make(chan string, 1)
	consuming(t, c, boundary, "s", func(_ context.Context, d client.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		if healed {
			if d.Replayed {
				replayed <- d.ID
			}
			return nil
		}
		if strings.HasPrefix(d.ID, "bad") {
			return errors.New("no \xff such order: " + strings.Repeat("x", 5000))
		}
		return nil
	})
	waitFor(t, c, boundary, "s", last)
	all := parked(t, c, boundary, "s")
	if len(all) != 2 || all[0].ID != "bad0" || all[0].Refusals != 1 || all[0].Key != "bad" ||
		!strings.HasPrefix(all[0].Reason, "no \uFFFD such order: xxx") || all[1].ID != "bad1" || all[1].Refusals != 0 {
		t.Fatalf("%+v", all)
	}
	mu.Lock()
	healed = true
	mu.Unlock()
	if n, err := c.ReplayParked(t.Context(), boundary, "s", all[0].Position); n != 1 || err != nil {
		t.Errorf("%d are replayed, %v", n, err)
	}
	if id := <-replayed; id != "bad0" {
		t.Errorf("%s comes", id)
	}
	for len(parked(t, c, boundary, "s")) != 1 { // until the acknowledgement is stored
		if t.Context().Err() != nil {
			t.Fatal("a replayed event stays")
		}
	}
	if n, err := c.SkipParked(t.Context(), boundary, "s"); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("%d are skipped without positions, %v", n, err)
	}
	if n, err := c.SkipParked(t.Context(), boundary, "s", all[1].Position); n != 1 || err != nil {
		t.Errorf("%d are skipped, %v", n, err)
	}
	if n, err := c.SkipAllParked(t.Context(), boundary, "s"); n != 0 || err != nil {
		t.Errorf("%d are skipped, %v", n, err)
	}
}

// A handler that panics ends neither the program nor the consumer: its event is parked, with the stack.
func TestAPanicOfAHandlerIsARefusal(t *testing.T) {
	var log strings.Builder // written by one goroutine, and read after Consume
	c := dial(t, shared.URL, client.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", MaxRefusals: 1})
	saveOrders(t, c, boundary, 1, "bad", "good")
	ctx, stop := cancelable(t)
	handled := 0
	err := c.Consume(ctx, boundary, "s", func(_ context.Context, d client.Delivery) error {
		if d.ID == "bad0" {
			panic("boom")
		}
		handled++
		return nil
	}, client.OnCaughtUp(func(client.Position) { stop() }))
	if err != nil || handled != 1 {
		t.Errorf("%v, %d are handled", err, handled)
	}
	all := parked(t, c, boundary, "s")
	if len(all) != 1 || all[0].ID != "bad0" || !strings.HasPrefix(all[0].Reason, "the handler panicked: boom") ||
		!strings.Contains(all[0].Reason, "consume_test.go") {
		t.Errorf("%+v", all)
	}
	if !strings.Contains(log.String(), "a handler panicked") {
		t.Errorf("the log says %s", log.String())
	}
}

// A handler that calls t.FailNow or runtime.Goexit holds neither its place among the handlers nor the end of Consume.
func TestAHandlerThatEndsItsGoroutineIsARefusal(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", MaxRefusals: 1})
	saveOrders(t, c, boundary, 1, "bad", "good")
	ctx, stop := cancelable(t)
	handled := 0
	err := c.Consume(ctx, boundary, "s", func(_ context.Context, d client.Delivery) error {
		if d.ID == "bad0" {
			runtime.Goexit()
		}
		handled++
		return nil
	}, client.OnCaughtUp(func(client.Position) { stop() }))
	if err != nil || handled != 1 {
		t.Errorf("%v, %d are handled", err, handled)
	}
	all := parked(t, c, boundary, "s")
	if len(all) != 1 || all[0].ID != "bad0" || !strings.Contains(all[0].Reason, "runtime.Goexit") {
		t.Errorf("%+v", all)
	}
}

func TestADelayIsNoRefusal(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s", MaxRefusals: 1})
	last := saveOrders(t, c, boundary, 1, "a")
	counts := make(chan int, 3)
	consuming(t, c, boundary, "s", func(_ context.Context, d client.Delivery) error {
		counts <- d.Count
		if d.Count < 3 {
			return fmt.Errorf("not yet: %w", client.Later(time.Millisecond))
		}
		return nil
	})
	waitFor(t, c, boundary, "s", last)
	if got := fmt.Sprint(<-counts, <-counts, <-counts); got != "1 2 3" {
		t.Error(got)
	}
	if all := parked(t, c, boundary, "s"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestAStopFinishesWhatIsInHandAndLeavesTheRestToTheNext(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s"})
	const events = 300
	last := saveOrders(t, c, boundary, events, "a")
	var mu sync.Mutex
	handled := map[string]int{}
	note := func(d client.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		handled[d.ID]++
	}
	begun, proceed := make(chan struct{}, events), make(chan struct{})
	stop := consuming(t, c, boundary, "s", func(ctx context.Context, d client.Delivery) error {
		begun <- struct{}{}
		<-proceed
		note(d)
		return ctx.Err() // it does not end while this one finishes
	}, client.Concurrency(2), client.Window(events))
	<-begun
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for stopping := true; stopping; {
		select {
		case proceed <- struct{}{}:
		case err := <-stopped:
			if err != nil {
				t.Error(err)
			}
			stopping = false
		}
	}
	first := len(handled)
	consuming(t, c, boundary, "s", func(_ context.Context, d client.Delivery) error {
		note(d)
		return nil
	}, client.Window(10))
	waitFor(t, c, boundary, "s", last)
	if first < 2 || first == events || len(handled) != events {
		t.Errorf("%d events were handled before the stop, %d in all, want %d", first, len(handled), events)
	}
	for id, n := range handled {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
}

func TestHandlersThatTakeTooLongToStopAreInterrupted(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s"})
	last := saveOrders(t, c, boundary, 1, "a")
	ctx, cancel := cancelable(t)
	err := c.Consume(ctx, boundary, "s", func(ctx context.Context, _ client.Delivery) error {
		cancel()
		<-ctx.Done()
		return context.Cause(ctx)
	}, client.StopTime(time.Millisecond))
	if !errors.Is(err, client.ErrStopTime) {
		t.Error(err)
	}
	consuming(t, c, boundary, "s", func(context.Context, client.Delivery) error { return nil })
	waitFor(t, c, boundary, "s", last)
	if all := parked(t, c, boundary, "s"); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

func TestAResetIsConsumedAgainAndADeletionEndsConsume(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s"})
	last := saveOrders(t, c, boundary, 2, "a")
	ended := make(chan error, 1)
	got := make(chan string, 10)
	go func() {
		ended <- c.Consume(t.Context(), boundary, "s", func(_ context.Context, d client.Delivery) error {
			got <- d.ID
			return nil
		})
	}()
	waitFor(t, c, boundary, "s", last)
	if _, err := c.ResetSubscription(t.Context(), boundary, "s", client.Start{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c, boundary, "s", last)
	if text := fmt.Sprint(<-got, <-got, <-got, <-got); text != "a0a1a0a1" {
		t.Error(text)
	}
	if err := c.DeleteSubscription(t.Context(), boundary, "s"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
}

func TestWaitForCheckpointEndsWithTheDeadlineAndSaysHowFarItIs(t *testing.T) {
	c := dial(t, shared.URL)
	boundary := newBoundary(t, c)
	subscribe(t, c, boundary, client.Subscription{Name: "s"})
	last := saveOrders(t, c, boundary, 1, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.WaitForCheckpoint(ctx, boundary, "s", last)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the subscription is at {-1,-1}") {
		t.Error(err)
	}
	if _, err := c.WaitForCheckpoint(t.Context(), boundary, "none", last); !errors.Is(err, client.ErrNotFound) {
		t.Error(err)
	}
}

func TestBadOptionsOfConsumeAreErrors(t *testing.T) {
	c := dial(t, shared.URL)
	for name, options := range map[string][]client.ConsumeOption{
		"no handler":     {client.Concurrency(0)},
		"a small window": {client.Concurrency(3), client.Window(2)},
		"a large window": {client.Window(10_001)},
		"no time":        {client.StopTime(0)},
		"a long name":    {client.ConsumerName(strings.Repeat("n", 300))},
	} {
		ignore := func(context.Context, client.Delivery) error { return nil }
		err := c.Consume(t.Context(), "orisun_test_1", "s", ignore, options...)
		if !errors.Is(err, client.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
