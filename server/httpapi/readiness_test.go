package httpapi

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oexza/orisun/server/transport"
)

func TestACheckThatDoesNotAnswerDelaysNoOtherResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReadiness()
		ask := func(ctx context.Context) error {
			<-time.After(time.Millisecond) // the bubble's clock
			return ctx.Err()
		}
		r.checks = []Check{
			{"silent", false, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
			{"good", true, ask},
		}
		r.warners = []Warner{func(ctx context.Context) []string {
			if err := ask(ctx); err != nil {
				return []string{err.Error()}
			}
			return []string{"the admin has the default password"}
		}}
		r.look(t.Context(), transport.NewHealth())
		r.enter("")
		answer := r.Current(t.Context())
		if warnings := strings.Join(answer.Warnings, "; "); !answer.Ready || answer.Checks["silent"].OK ||
			!answer.Checks["good"].OK || !strings.Contains(warnings, "has the default password") {
			t.Errorf("%+v", answer)
		}
	})
}

// servingAt is the health that a watch of readiness reports, and when it changed.
type servingAt struct {
	serving bool
	changed time.Time
}

func (s *servingAt) SetServing(serving bool) {
	if s.serving != serving {
		s.serving, s.changed = serving, time.Now()
	}
}

func TestAStopOfPostgreSQLAndItsReturnAreNoticedWithinTwoSeconds(t *testing.T) {
	const limit = 2 * time.Second
	for offset := time.Duration(0); offset < readinessPeriod+readinessLimit; offset += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			var silent atomic.Bool
			r := newReadiness()
			r.checks = []Check{{"postgresql", true, func(ctx context.Context) error {
				if !silent.Load() {
					return nil
				}
				<-ctx.Done() // as a query to a process that is stopped
				return ctx.Err()
			}}}
			var health servingAt
			ctx, cancel := context.WithCancel(t.Context())
			var watch sync.WaitGroup
			watch.Go(r.Ready(ctx, &health))
			defer watch.Wait()
			defer cancel()
			for range 3 {
				<-time.After(10*readinessPeriod + offset) // the bubble's clock
				stopped := !silent.Load()
				silent.Store(stopped)
				began := time.Now()
				<-time.After(limit)
				synctest.Wait()
				if health.serving == stopped || r.Current(t.Context()).Ready == stopped {
					t.Fatalf("offset %s: silent %t, health %t, ready %t",
						offset, stopped, health.serving, r.Current(t.Context()).Ready)
				}
				if took := health.changed.Sub(began); took >= limit {
					t.Errorf("offset %s: noticed after %s", offset, took)
				}
			}
		})
	}
}
