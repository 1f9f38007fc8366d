package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/oexza/orisun/db"
	"github.com/oexza/orisun/migrations/pgtest"
	orisunpb "github.com/oexza/orisun/proto"
)

// grouped is a store of two boundaries, a and b, that has room for one page at a time. Whoever locks a boundary's table decides how long that page takes.
type grouped struct {
	*EventStore
	pool *pgxpool.Pool

	mu    sync.Mutex
	sizes []int // of the groups so far
	slow  []string
}

const groupedEvents = 60

// patient is how long a test waits for what should take no time.
const patient = 30 * time.Second

func newGrouped(t *testing.T, patience time.Duration) *grouped {
	t.Helper()
	pool := pgtest.New(t)
	g := &grouped{EventStore: NewEventStore(Config{Write: pool, Read: pool, MaxPageBytes: 4000}), pool: pool}
	for _, boundary := range []string{"a", "b"} {
		pgtest.Boundary(t, pool, boundary)
		_, err := pool.Exec(t.Context(), fmt.Sprintf(`INSERT INTO public.%s_orisun_es_event (event_id, event_type, data)
			SELECT '%[1]s' || n, 'T', jsonb_build_object('pad', repeat('x', 300)) FROM generate_series(0, %d) n`, boundary, groupedEvents-1))
		if err != nil {
			t.Fatal(err)
		}
	}
	g.groups.limit, g.groups.patience = 1, patience
	g.groups.trace = func(ctx context.Context, callers []trace.Span) (context.Context, func()) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.sizes = append(g.sizes, len(callers))
		return ctx, func() {}
	}
	g.groups.slow = func(shape string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.slow = append(g.slow, shape)
	}
	return g
}

func (g *grouped) groupSizes() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sizes)
}

func (g *grouped) foundSlow(shape string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.slow, shape)
}

// question asks for count events of a boundary from one on, by a kept statement.
func (g *grouped) question(t *testing.T, boundary string, from, count int) pageQuestion {
	t.Helper()
	transactionID, globalID := int64(0), int64(from)
	if err := g.pool.QueryRow(t.Context(), "SELECT transaction_id FROM public."+boundary+"_orisun_es_event WHERE global_id = $1", from).Scan(&transactionID); err != nil {
		t.Fatal(err)
	}
	for {
		question, err := g.pageQuestion(t.Context(), db.GetEventsParams{
			Boundary: boundary, TagCriteria: []int32{}, TagKeys: []string{}, TagValues: []string{},
			TransactionID: &transactionID, GlobalID: &globalID, Inclusive: true, Count: int32(count),
		})
		if err != nil {
			t.Fatal(err)
		}
		if question.quick {
			return question
		}
	}
}

// asked is a page that is being asked for.
type asked struct {
	boundary    string
	from, count int
	answered    chan error
	page        pageReader
}

func (g *grouped) start(ctx context.Context, question pageQuestion, boundary string, from, count int) *asked {
	a := &asked{boundary, from, count, make(chan error, 1), pageReader{store: g.EventStore}}
	go func() { a.answered <- g.groups.read(ctx, question, &a.page) }()
	return a
}

func (a *asked) isRight(t *testing.T) {
	t.Helper()
	select {
	case err := <-a.answered:
		if err != nil {
			t.Fatalf("from %s%d: %v", a.boundary, a.from, err)
		}
	case <-time.After(patient):
		t.Fatalf("from %s%d: no answer within %v", a.boundary, a.from, patient)
	}
	var page orisunpb.GetEventsResponse
	if err := proto.Unmarshal(a.page.bytes, &page); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, event := range page.GetEvents() {
		got = append(got, event.GetEventId())
	}
	for n := range a.count {
		want = append(want, fmt.Sprint(a.boundary, a.from+n))
	}
	if !slices.Equal(got, want) {
		t.Errorf("from %s%d: got %v, want %v", a.boundary, a.from, got, want)
	}
}

// lock keeps questions to boundaries waiting until the returned function is called.
func (g *grouped) lock(t *testing.T, boundaries ...string) (tx pgx.Tx, unlock func()) {
	t.Helper()
	tx, err := g.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			t.Error(err)
		}
	})
	for _, boundary := range boundaries {
		if _, err := tx.Exec(t.Context(), "LOCK TABLE public."+boundary+"_orisun_es_event IN ACCESS EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
	}
	return tx, func() {
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *grouped) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(patient)
	for tick := time.NewTicker(time.Millisecond); !is(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patient, what)
		}
	}
}

// waits waits until so many pages wait behind one that is asked for.
func (g *grouped) waits(t *testing.T, n int) {
	t.Helper()
	g.eventually(t, fmt.Sprintf("%d pages wait", n), func() bool {
		g.groups.mu.Lock()
		defer g.groups.mu.Unlock()
		return g.groups.running == 1 && len(g.groups.waiting) == n
	})
}

func TestPagesThatWaitAreAskedForTogether(t *testing.T) {
	g := newGrouped(t, time.Hour)
	var questions []pageQuestion
	const others = 2*maxPageGroup + 1
	for from := range 1 + others {
		questions = append(questions, g.question(t, "a", from, 1+from%3))
	}
	_, unlock := g.lock(t, "a")
	var pages []*asked
	for from, question := range questions {
		pages = append(pages, g.start(t.Context(), question, "a", from, 1+from%3))
		g.waits(t, from)
	}
	unlock()
	for _, page := range pages {
		page.isRight(t)
	}
	if got, want := g.groupSizes(), []int{maxPageGroup, maxPageGroup, 1}; !slices.Equal(got, want) {
		t.Errorf("groups of %v, want %v", got, want)
	}
	g.eventually(t, "there is room again", func() bool {
		g.groups.mu.Lock()
		defer g.groups.mu.Unlock()
		return g.groups.running == 0
	})
}

// TestAPageThatTakesLongKeepsOthersWaitingForTheirPatienceOnly, whether it is asked for by itself or in a group with them.
func TestAPageThatTakesLongKeepsOthersWaitingForTheirPatienceOnly(t *testing.T) {
	t.Run("by itself", func(t *testing.T) {
		g := newGrouped(t, 3*time.Second)
		slow, quick := g.question(t, "b", 0, 1), g.question(t, "a", 0, 1)
		_, unlock := g.lock(t, "b")
		first := g.start(t.Context(), slow, "b", 0, 1)
		g.waits(t, 0)
		g.start(t.Context(), quick, "a", 0, 1).isRight(t) // while b is locked
		unlock()
		first.isRight(t)
		g.eventually(t, "the page is known to be slow", func() bool { return g.foundSlow(slow.shape) })
	})
	t.Run("in a group", func(t *testing.T) {
		g := newGrouped(t, 3*time.Second)
		slow := g.question(t, "b", 0, 1)
		quick := []pageQuestion{g.question(t, "a", 0, 1), g.question(t, "a", 1, 1), g.question(t, "a", 2, 1)}
		_, unlockSlow := g.lock(t, "b")
		_, unlockQuick := g.lock(t, "a")
		first := g.start(t.Context(), quick[0], "a", 0, 1)
		g.waits(t, 0)
		before := g.start(t.Context(), quick[1], "a", 1, 1)
		g.waits(t, 1)
		long := g.start(t.Context(), slow, "b", 0, 1)
		g.waits(t, 2)
		behind := g.start(t.Context(), quick[2], "a", 2, 1)
		g.waits(t, 3)
		unlockQuick()
		for _, page := range []*asked{first, before, behind} {
			page.isRight(t) // while b is locked
		}
		if !g.foundSlow(slow.shape) {
			t.Error("the page that takes long is not known to be slow")
		}
		unlockSlow()
		long.isRight(t)
	})
}

// TestSlowPagesAreNotAskedForTogether until their statement is composed anew: it may count on another index then.
func TestSlowPagesAreNotAskedForTogether(t *testing.T) {
	p := newPageStatements()
	compose := func() (string, error) { return "SELECT", nil }
	for range 2 {
		if _, err := p.find("shape", compose); err != nil {
			t.Fatal(err)
		}
	}
	p.noteSlow("shape")
	p.noteSlow("forgotten")
	if found, err := p.find("shape", compose); err != nil || !found.slow || found.text == "" {
		t.Errorf("got %+v (%v), want a slow one", found, err)
	}
	if p.kept.Contains("forgotten") {
		t.Error("a shape without a statement is kept")
	}
}

func TestACallerWhoGoesLeavesItsGroup(t *testing.T) {
	g := newGrouped(t, time.Hour)
	_, unlock := g.lock(t, "b")
	defer unlock()
	first := g.question(t, "a", 0, 1)
	_, unlockFirst := g.lock(t, "a")
	leads := g.start(t.Context(), first, "a", 0, 1)
	g.waits(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	goes := g.start(ctx, first, "a", 0, 1)
	g.waits(t, 1)
	stays := g.start(t.Context(), first, "a", 0, 1)
	g.waits(t, 2)
	cancel()
	if err := <-goes.answered; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
	g.waits(t, 1)
	unlockFirst()
	leads.isRight(t)
	stays.isRight(t)
}

func TestAPageThatIsTooLargeIsRefusedAlone(t *testing.T) {
	g := newGrouped(t, time.Hour)
	small, large := g.question(t, "a", 0, 1), g.question(t, "a", 0, groupedEvents)
	_, unlock := g.lock(t, "a")
	var pages []*asked
	for i, question := range []pageQuestion{small, small, large, small} {
		pages = append(pages, g.start(t.Context(), question, "a", 0, 1))
		g.waits(t, i)
	}
	unlock()
	if err := <-pages[2].answered; status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v for a page of %d bytes and more", err, g.config.MaxPageBytes)
	}
	for _, i := range []int{0, 1, 3} {
		pages[i].isRight(t)
	}
	if got := g.groupSizes(); !slices.Equal(got, []int{3}) {
		t.Errorf("groups of %v, want one of 3", got)
	}
}

// TestAPageThatPostgreSQLRefusesIsRefusedAlone: what follows it in its group gets no answer there, and asks again.
func TestAPageThatPostgreSQLRefusesIsRefusedAlone(t *testing.T) {
	g := newGrouped(t, time.Hour)
	a, b := g.question(t, "a", 0, 1), g.question(t, "b", 0, 1)
	tx, unlock := g.lock(t, "a", "b")
	if _, err := tx.Exec(t.Context(), "DROP TABLE public.b_orisun_es_event"); err != nil {
		t.Fatal(err)
	}
	var pages []*asked
	for i, question := range []pageQuestion{a, a, b, a} {
		pages = append(pages, g.start(t.Context(), question, "a", 0, 1))
		g.waits(t, i)
	}
	unlock()
	if err := <-pages[2].answered; !isGone(err) {
		t.Errorf("got %v of a table that is gone", err)
	}
	for _, i := range []int{0, 1, 3} {
		pages[i].isRight(t)
	}
	if g.foundSlow(b.shape) {
		t.Error("a page that is refused counts as slow")
	}
}
