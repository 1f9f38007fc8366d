package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// fill takes all turns there are.
func fill(t *testing.T, p *pageTurns) (done []func()) {
	t.Helper()
	for range cap(p.turns) {
		d, err := p.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, d)
	}
	return done
}

// TestPagesWaitForTheirTurnInOrder, and one page that takes its time does not hold up the others for longer than a turn lasts.
func TestPagesWaitForTheirTurnInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPageTurns()
		done := fill(t, p)
		order := make(chan int, 2)
		for i := range 2 {
			go func() {
				done, err := p.take(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				done()
			}()
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Fatal("a page was read out of turn")
		}
		done[0]()
		synctest.Wait()
		if len(order) != 2 || <-order != 0 {
			t.Error("pages were not read in the order of their asking")
		}
		begun := time.Now()
		fill(t, p)
		fill(t, p) // as those before end by themselves
		if waited := time.Since(begun); cap(p.turns) == 1 && waited != (1+restLasts)*turnLasts {
			t.Errorf("a page that takes its time kept another waiting for %v, want %v and the rest after it", waited, turnLasts)
		}
		done[0]() // a turn is given back once
		time.Sleep((1 + restLasts) * turnLasts)
		synctest.Wait()
		if len(p.turns) != 0 {
			t.Errorf("%d turns are taken after all have ended", len(p.turns))
		}
	})
}

// TestATurnBesideSavesIsFollowedByARest, as long as the turn was times restLasts.
func TestATurnBesideSavesIsFollowedByARest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPageTurns()
		p.noteSave()
		const took = 10 * time.Millisecond
		for _, done := range fill(t, p) {
			defer done() // more than once does no harm
			time.AfterFunc(took, done)
		}
		begun := time.Now()
		fill(t, p)
		if waited := time.Since(begun); waited != (1+restLasts)*took {
			t.Errorf("the next turn came after %v, want %v", waited, (1+restLasts)*took)
		}
		time.Sleep((1 + restLasts) * turnLasts)
	})
}

// TestACallerThatGoesTakesNoTurn.
func TestACallerThatGoesTakesNoTurn(t *testing.T) {
	p := newPageTurns()
	for _, done := range fill(t, p) {
		defer done()
	}
	gone, end := context.WithCancel(t.Context())
	end()
	if _, err := p.take(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("take answers %v", err)
	}
}

// TestNobodyTakesTurnsForLongAfterSaves: readers alone have all there is.
func TestNobodyTakesTurnsForLongAfterSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPageTurns()
		if p.wanted() {
			t.Error("turns are wanted before the first save")
		}
		time.Sleep(time.Second)
		p.noteSave()
		time.Sleep(time.Minute)
		if !p.wanted() {
			t.Error("turns are not wanted beside a save")
		}
		p.noteSaved()
		if !p.wanted() {
			t.Error("turns are not wanted between two saves")
		}
		time.Sleep(savingLasts)
		if p.wanted() {
			t.Errorf("turns are wanted %v after a save", savingLasts)
		}
	})
}
