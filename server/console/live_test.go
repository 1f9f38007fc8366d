package console_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
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
	{"stand still", `[...document.querySelectorAll('button')].find(b => /Live/.test(b.innerText))?.click()`},
	{"follow again", `[...document.querySelectorAll('button')].find(b => /live/.test(b.innerText))?.click()`},
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
		performance.Enable())
	arriving := make(chan struct{})
	go func() {
		defer close(arriving)
		saveEvents(t, server, int(liveFor.Seconds())*liveRate, liveRate)
	}()

	took := map[string][]time.Duration{}
	var heaps []int64
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
	run(ctx, t, "the heap", heapprofiler.CollectGarbage(), chromedp.ActionFunc(func(ctx context.Context) error {
		metrics, err := performance.GetMetrics().Do(ctx)
		for _, metric := range metrics {
			if metric.Name == "JSHeapUsedSize" {
				bytes = int64(metric.Value)
			}
		}
		return err
	}))
	if bytes == 0 {
		t.Fatal("Chromium reports no JSHeapUsedSize")
	}
	return bytes
}
