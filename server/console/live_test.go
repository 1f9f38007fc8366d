package console_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"golang.org/x/sync/errgroup"

	orisunpb "github.com/oexza/orisun/proto"
	"github.com/oexza/orisun/server/servertest"
)

var liveFor = flag.Duration("live.for", 5*time.Second,
	"TestTheEventsPageFollowsManyEvents: how long events arrive; from a minute on a million events are stored before")

const (
	liveRate  = 10_000 // events a second
	liveBatch = 100    // events of a save
	// maxTabHeap is what a tab may hold in JavaScript after a GC.
	maxTabHeap = 64 << 20
	// maxInteraction is the median time that a key or a click may take until the page shows its effect. Chromium shares
	// the processors with the server, PostgreSQL and the clients, so single ones take longer.
	maxInteraction = 100 * time.Millisecond
)

// interactions are what a user does on the events page; each returns at the next frame with its effect.
var interactions = []struct{ name, script string }{
	{"j", `document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'j', bubbles: true}))`},
	{"k", `document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'k', bubbles: true}))`},
	{"scroll", `document.querySelector('.scroll').scrollTop += 200`},
	{"open an event", `document.querySelector('.events tbody tr').click()`},
	{"close it", `document.querySelector('dialog [aria-label=Close]')?.click()`},
	{"stand still", `[...document.querySelectorAll('button')].find(b => b.innerText === 'Pause')?.click()`},
	{"follow again", `[...document.querySelectorAll('button')].find(b => b.innerText === 'Follow live')?.click()`},
}

// TestTheEventsPageFollowsManyEvents saves 10,000 events a second while the page follows them and a user works on it.
func TestTheEventsPageFollowsManyEvents(t *testing.T) {
	server := servertest.Start(t)
	isLong := *liveFor >= time.Minute
	if isLong {
		saveEvents(t, server, 1_000_000, 0)
	} else {
		saveEvents(t, server, liveRate, 0)
	}
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"), visit(server, "events?boundary=orisun_test_1", "● Live"),
		performance.Enable(), chromedp.Evaluate(`void (window.longTasks = [], new PerformanceObserver(list =>
			longTasks.push(...list.getEntries().map(e => e.duration))).observe({type: 'longtask'}))`, nil))
	arriving := make(chan struct{})
	go func() {
		defer close(arriving)
		saveEvents(t, server, int(liveFor.Seconds())*liveRate, liveRate)
	}()

	took := map[string][]time.Duration{}
	var heaps []int64
	begun, used := time.Now(), tabMetric(ctx, t, "ProcessTime")
	first := shownPosition(ctx, t)
	for end := time.Now().Add(*liveFor); time.Now().Before(end); {
		for _, interaction := range interactions {
			var milliseconds float64
			run(ctx, t, interaction.name, chromedp.Evaluate(`(async () => {
				const begun = performance.now();
				`+interaction.script+`;
				await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
				return performance.now() - begun;
			})()`, &milliseconds, awaitPromise))
			took[interaction.name] = append(took[interaction.name], time.Duration(milliseconds*float64(time.Millisecond)))
		}
		heaps = append(heaps, tabHeap(ctx, t))
	}
	t.Logf("the tab used %.0f %% of a processor", (tabMetric(ctx, t, "ProcessTime")-used)/time.Since(begun).Seconds()*100)
	var long []float64
	run(ctx, t, "long tasks", chromedp.Evaluate(`longTasks`, &long))
	slices.Sort(long)
	t.Logf("%d tasks of more than 50 ms: %.0f", len(long), long[max(0, len(long)-10):])
	<-arriving
	if last := shownPosition(ctx, t); last <= first {
		t.Errorf("the page showed event %d before events arrived, and %d after them", first, last)
	}
	for _, interaction := range interactions {
		all := took[interaction.name]
		slices.Sort(all)
		median, p99 := all[len(all)/2], all[len(all)*99/100]
		t.Logf("%-14s %d times: median %s, p99 %s", interaction.name, len(all), median.Round(time.Millisecond),
			p99.Round(time.Millisecond))
		if isLong && median > maxInteraction {
			t.Errorf("%s: half of all took more than %s", interaction.name, median)
		}
	}
	t.Logf("JavaScript's heap: %d MiB at first, %d MiB at last, at most %d MiB",
		heaps[0]>>20, heaps[len(heaps)-1]>>20, slices.Max(heaps)>>20)
	if slices.Max(heaps) > maxTabHeap {
		t.Errorf("the tab held %d MiB, more than %d MiB", slices.Max(heaps)>>20, maxTabHeap>>20)
	}
}

// saveEvents saves so many events, at most rate of them a second unless it is 0.
func saveEvents(t *testing.T, server *servertest.Server, events, rate int) {
	t.Helper()
	store := orisunpb.NewEventStoreClient(server.Dial(t))
	saves, ctx := errgroup.WithContext(t.Context())
	saves.SetLimit(8)
	size := liveBatch
	if rate == 0 {
		size = 1000
	}
	begun := time.Now()
	for saved := 0; saved < events && ctx.Err() == nil; saved += size {
		if rate > 0 {
			<-time.After(time.Until(begun.Add(time.Duration(saved) * time.Second / time.Duration(rate))))
		}
		saves.Go(func() error {
			batch := make([]*orisunpb.EventToSave, size)
			for i := range batch {
				data := fmt.Sprintf(`{"sensor": "s%d", "text": %q}`, i, strings.Repeat("x", 200))
				batch[i] = &orisunpb.EventToSave{EventId: rand.Text(), EventType: "Measured", Data: data}
			}
			_, err := store.SaveEvents(ctx, &orisunpb.SaveEventsRequest{Boundary: "orisun_test_1", Events: batch})
			return err
		})
	}
	if err := saves.Wait(); err != nil {
		t.Errorf("save %d events: %v", events, err)
	}
	if took := time.Since(begun); rate > 0 {
		t.Logf("%d events were saved in %s, %.0f a second", events, took.Round(time.Millisecond),
			float64(events)/took.Seconds())
	}
}

// shownPosition is the global id of the first row.
func shownPosition(ctx context.Context, t *testing.T) (position int) {
	t.Helper()
	run(ctx, t, "the first row", chromedp.Poll(`document.querySelector('.events td.num')`, nil),
		chromedp.Evaluate(`Number(document.querySelector('.events td.num').innerText)`, &position))
	return position
}

// tabHeap is what JavaScript holds in the tab after a GC.
func tabHeap(ctx context.Context, t *testing.T) (bytes int64) {
	t.Helper()
	run(ctx, t, "a GC", heapprofiler.CollectGarbage())
	return int64(tabMetric(ctx, t, "JSHeapUsedSize"))
}

// tabMetric is what Chromium measures of a tab.
func tabMetric(ctx context.Context, t *testing.T, name string) (value float64) {
	t.Helper()
	run(ctx, t, name, chromedp.ActionFunc(func(ctx context.Context) error {
		metrics, err := performance.GetMetrics().Do(ctx)
		for _, metric := range metrics {
			if metric.Name == name {
				value = metric.Value
			}
		}
		return err
	}))
	if value == 0 {
		t.Fatalf("Chromium reports no %s", name)
	}
	return value
}

func TestALivePageGoesOnAfterARestartOfTheServer(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint("ORISUN_ADMIN_PORT=", listener.Addr().(*net.TCPAddr).Port)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	server := servertest.Start(t, port)
	save(t, server, "1", "Before", `{}`)
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"), visit(server, "events?boundary=orisun_test_1", "● Live"),
		see("Before"))
	save(t, server, "2", "Live", `{}`)
	run(ctx, t, "an event", see("Live"))
	server.Stop()
	run(ctx, t, "the server is away", see("○ Connecting …"))
	again := servertest.StartOn(t, server.Database, port)
	save(t, again, "3", "After", `{}`)
	run(ctx, t, "the server is back", see("After"), see("● Live"), holds(`!document.querySelector('.problem')`),
		equals(t, `[...document.querySelectorAll('.events td:nth-child(2)')].map(td => td.innerText).join()`,
			"After,Live,Before"))
}

// A page that lags behind shows the latest events only, without a hole in the middle, and each event after them.
func TestAFloodLeavesNoHoleBetweenRows(t *testing.T) {
	server := servertest.Start(t)
	saveEvents(t, server, liveBatch, 0)
	ctx := browser(t)
	run(ctx, t, "the page", logIn(server, "admin", "changeit"), visit(server, "events?boundary=orisun_test_1", "● Live"))
	saveEvents(t, server, 5000, 0)
	const consecutive = `[...document.querySelectorAll('.events td.num')].map(td => Number(td.innerText))
		.every((position, i, all) => i === 0 || all[i - 1] === position + 1)`
	latest := func(position int) chromedp.Action {
		return holds(fmt.Sprintf(`document.querySelector('.events td.num')?.innerText === '%d'`, position))
	}
	run(ctx, t, "a flood", latest(5999), equals(t, consecutive, true))
	save(t, server, "after", "AfterTheFlood", `{}`)
	run(ctx, t, "the next event", latest(6000), see("AfterTheFlood"), equals(t, consecutive, true))
}
