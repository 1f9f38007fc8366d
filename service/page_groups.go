package service

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxPageGroup is how many pages are asked for in one round trip at most: more save little, and the last of them waits for all.
	maxPageGroup = 16
	// groupPatience is how long a page may keep others waiting. A page of ten events by an index takes some 50 µs of PostgreSQL, so a whole group takes that
	// long on a machine that is busy indeed.
	groupPatience = 50 * time.Millisecond
)

// pageGroups lets small pages that are asked for at the same time share their way to PostgreSQL: what wakes the processes on either side takes longer than
// what they do. As many groups are under way as half of this node's processors, which is all that answering their callers leaves to them. A page that finds
// room for one more is asked for at once, by itself; the others wait for the end of a group, and are the next.
//
// Nobody is worse off for long: a group that takes longer than the patience is given up, as is one that PostgreSQL refuses because of what one of its pages
// asks, and whoever has no answer then asks alone. A page that takes as long by itself makes room for another group. Questions of such a shape are not asked
// together with others until their statement is composed anew.
//
// Who waits is a call that is being answered: there are as many of them as the server lets in.
type pageGroups struct {
	pool     *pgxpool.Pool
	limit    int
	patience time.Duration
	// slow is told of the shape of a page that took too long.
	slow func(shape string)
	// trace shows a group in the traces of those who are in it, until end.
	trace func(ctx context.Context, callers []trace.Span) (_ context.Context, end func())

	mu      sync.Mutex
	running int
	waiting []*groupedPage
}

// groupedPage is a page that somebody else asks for.
type groupedPage struct {
	question pageQuestion
	caller   trace.Span
	page     pageReader
	answered chan error // takes one without anybody waiting for it
}

// errAskAlone answers a page of which a group did not learn anything.
var errAskAlone = errors.New("to be asked for alone")

func newPageGroups(pool *pgxpool.Pool, slow func(string), traced func(context.Context, []trace.Span) (context.Context, func())) *pageGroups {
	return &pageGroups{pool: pool, limit: max(1, runtime.GOMAXPROCS(0)/2), patience: groupPatience, slow: slow, trace: traced}
}

// read asks for a page, of which page has nothing yet.
func (g *pageGroups) read(ctx context.Context, question pageQuestion, page *pageReader) error {
	g.mu.Lock()
	if g.running < g.limit {
		g.running++
		g.mu.Unlock()
		return g.lead(ctx, question, page)
	}
	asked := &groupedPage{question, trace.SpanFromContext(ctx), pageReader{store: page.store, call: page.call}, make(chan error, 1)}
	g.waiting = append(g.waiting, asked)
	g.mu.Unlock()

	var err error
	select {
	case err = <-asked.answered:
	case <-ctx.Done():
		g.forget(asked)
		return ctx.Err()
	}
	if errors.Is(err, errAskAlone) {
		return page.ask(ctx, question)
	}
	*page = asked.page
	return err
}

// lead asks for a page by itself, and then lets those go on who came meanwhile.
func (g *pageGroups) lead(ctx context.Context, question pageQuestion, page *pageReader) error {
	next := sync.OnceFunc(g.next)
	defer next()
	impatient := time.AfterFunc(g.patience, next)
	err := page.ask(ctx, question)
	if !impatient.Stop() {
		g.slow(question.shape)
	}
	return err
}

// next gives the place of what has ended to those who wait.
func (g *pageGroups) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxPageGroup)
	if n == 0 {
		g.running--
		return
	}
	group := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	go g.run(group)
}

// forget lets nobody ask for a page that its caller does not want any more.
func (g *pageGroups) forget(asked *groupedPage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, asked); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
}

// run asks for a group's pages.
func (g *pageGroups) run(group []*groupedPage) {
	defer g.next()
	ctx, cancel := context.WithTimeout(context.Background(), g.patience)
	defer cancel()
	callers := make([]trace.Span, len(group))
	batch := &pgx.Batch{}
	for i, asked := range group {
		callers[i] = asked.caller
		batch.Queue(asked.question.statement, asked.question.arguments...)
	}
	ctx, end := g.trace(ctx, callers)
	defer end()

	results := g.pool.SendBatch(ctx, batch)
	for i, asked := range group {
		rows, _ := results.Query() // whose error is that of rows
		err := asked.page.collect(rows)
		rows.Close()
		if rows.Err() != nil { // and so has all that follows
			for _, asked := range group[i:] {
				// PostgreSQL answers whole buffers, so it may be any of them that takes long.
				if ctx.Err() != nil {
					g.slow(asked.question.shape)
				}
				asked.answered <- errAskAlone
			}
			break
		}
		asked.answered <- err
	}
	_ = results.Close() // each caller has its answer, or asks again
}
