package service

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// smallPage is how many events of a page wait for nobody: a decision is made on about as many, and a save follows it.
	smallPage = 100
	// savingLasts is for how long after a save large pages take turns: whoever saves one after the other begins the next one before.
	savingLasts = 20 * time.Millisecond
	// turnLasts bounds how long a page that takes its time, as without an index, keeps the others waiting.
	turnLasts = 50 * time.Millisecond
	// restLasts is how many times as long as a turn took nobody has the next one: so pages get a quarter of what turns alone would give them.
	restLasts = 3
)

// pageTurns makes large pages give way to saves. A page of 1,000 events takes as much of the processors as several saves, and whoever reads page
// after page always wants the next: a few readers would leave to saves what their number does. While there are saves, what comes after a page's
// first events is therefore read by turns, as many at once as half of this node's processors, and each turn is followed by a rest. At other times
// nobody waits.
type pageTurns struct {
	began  time.Time
	saving atomic.Int64 // saves that are under way
	saved  atomic.Int64 // when one ended last, in nanoseconds after began; 0 for never
	turns  chan struct{}
}

func newPageTurns() *pageTurns {
	return &pageTurns{began: time.Now(), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// noteSave tells that a save is under way, until noteSaved.
func (p *pageTurns) noteSave() { p.saving.Add(1) }

// noteSaved tells that it is so no more.
func (p *pageTurns) noteSaved() {
	p.saved.Store(int64(time.Since(p.began)))
	p.saving.Add(-1)
}

// wanted tells whether there are saves to give way to.
func (p *pageTurns) wanted() bool {
	saved := p.saved.Load()
	return p.saving.Load() > 0 || saved > 0 && int64(time.Since(p.began))-saved < int64(savingLasts)
}

// take waits for a turn, in the order of asking, or for the end of ctx. It ends with done, and counts as over after turnLasts in any case.
func (p *pageTurns) take(ctx context.Context) (done func(), err error) {
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	begun := time.Now()
	release := sync.OnceFunc(func() { <-p.turns })
	timer := time.AfterFunc((1+restLasts)*turnLasts, release)
	return func() {
		if !p.wanted() {
			timer.Stop()
			release()
			return
		}
		timer.Reset(time.Until(begun.Add((1 + restLasts) * min(time.Since(begun), turnLasts))))
	}, nil
}
